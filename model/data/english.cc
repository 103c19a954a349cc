#include "model/data/english.h"

#include <fmt/core.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/files.h"

namespace Atoll::model {

namespace fs = std::filesystem;

namespace {

constexpr const char* kDictionary = "/usr/share/dictd/gcide.dict.dz";
constexpr const char* kFortunes = "/usr/share/games/fortunes";

// dictzip is gzip with an index in its header: zlib reads it as it is.
Status decompress(const fs::path& from, const fs::path& to) {
    const std::unique_ptr<gzFile_s, int (*)(gzFile)> input(gzopen(from.c_str(), "rb"), gzclose);
    if (!input) return Error{ErrorCode::not_found, fmt::format("cannot open {}", from.string())};
    ATOLL_ASSIGN(FileWriter output, FileWriter::create(to));
    std::array<std::byte, 1 << 16> buffer{};
    for (;;) {
        const int count = gzread(input.get(), buffer.data(), static_cast<unsigned>(buffer.size()));
        if (count < 0) return Error{ErrorCode::corrupt, fmt::format("{} does not decompress", from.string())};
        if (count == 0) break;
        ATOLL_TRY(output.append(ByteView(buffer).first(static_cast<std::size_t>(count))));
    }
    return output.commit();
}

// The fortunes proper: without the indices (.dat) and the links to other spellings of a name (.u8).
std::vector<fs::path> fortune_files() {
    std::vector<fs::path> files;
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(kFortunes, code)) {
        if (entry.is_regular_file() && !entry.is_symlink() && !entry.path().has_extension())
            files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
}

}  // namespace

Result<std::vector<fs::path>> write_english_text(const fs::path& folder) {
    std::vector<fs::path> files;
    if (fs::exists(kDictionary)) {
        files.push_back(folder / "dictionary.txt");
        ATOLL_TRY(decompress(kDictionary, files.back()));
    }
    std::string sayings;
    for (const auto& file : fortune_files()) {
        ATOLL_ASSIGN(const std::string text, read_text(file));
        sayings += text;
    }
    if (!sayings.empty()) {
        files.push_back(folder / "sayings.txt");
        ATOLL_TRY(write_file(files.back(), sayings));
    }
    if (files.empty()) {
        return Error{
            ErrorCode::unavailable,
            fmt::format("no English text on this machine ({} and {} are absent): install the packages "
                        "dict-gcide or fortunes, or give a text of your own",
                        kDictionary, kFortunes)};
    }
    return files;
}

}  // namespace Atoll::model

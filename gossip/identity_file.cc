// Key files on disk (docs/reference/identity.md): Identity::load and Identity::save.
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/files.h"
#include "base/hash.h"
#include "gossip/base64.h"
#include "gossip/identity.h"

namespace Atoll::gossip {

namespace {
constexpr std::string_view kPrefix = "ATOLL-SECRET-KEY-1:";
constexpr std::size_t kChecksumBytes = 4;  // of the seed's BLAKE2b: one mistyping in 2^32 passes
constexpr std::size_t kKeyLineBytes =
    kPrefix.size() + base64url_characters(Identity::kSeedBytes + kChecksumBytes);
constexpr std::size_t kFileBytesMax = 4096;  // comments included; a larger file is not a key file

struct Descriptor {
    int number;
    ~Descriptor() {
        if (number >= 0) ::close(number);
    }
};

Error system_error(const std::string& what, const std::filesystem::path& path) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::not_found : ErrorCode::failed;
    return {code, what + " " + path.string() + ": " + std::strerror(errno)};
}

bool write_all(int descriptor, ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return true;
}

std::string_view without_spaces(std::string_view line) {
    const auto first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return {};
    return line.substr(first, line.find_last_not_of(" \t\r") + 1 - first);
}

// The one line that is neither comment nor empty.
Result<std::string_view> key_line(std::string_view text, const std::filesystem::path& path) {
    std::string_view found;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view line = without_spaces(text.substr(begin, end - begin));
        begin = end + 1;
        if (line.empty() || line.front() == '#') continue;
        if (!found.empty()) return Error{ErrorCode::corrupt, path.string() + " holds more than one key line"};
        found = line;
    }
    if (!found.starts_with(kPrefix)) {
        return Error{ErrorCode::corrupt, path.string() + " is not a key file: no line starts with " +
                                             std::string(kPrefix) + " (make one with atoll keygen)"};
    }
    return found.substr(kPrefix.size());
}

void checksum(ByteView seed, std::span<std::byte> out) {
    std::ranges::copy_n(blake2b(seed).begin(), kChecksumBytes, out.begin());
}
}  // namespace

Result<Identity> Identity::load(const std::filesystem::path& path) {
    const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (file.number < 0) return system_error("cannot open key file", path);
    struct stat info {};
    if (::fstat(file.number, &info) != 0) return system_error("cannot read key file", path);
    if (!S_ISREG(info.st_mode)) return Error{ErrorCode::corrupt, path.string() + " is not a regular file"};
    if ((info.st_mode & 077U) != 0) {
        return Error{ErrorCode::refused, "key file " + path.string() + " is open to others: chmod 600 " +
                                             path.string() +
                                             ", or make a new key if somebody may have read it"};
    }
    if (info.st_size > static_cast<off_t>(kFileBytesMax)) {
        return Error{ErrorCode::corrupt, path.string() + " is too large for a key file"};
    }
    SecretBytes content(kFileBytesMax);
    std::size_t size = 0;
    while (size < content.size()) {
        const ssize_t count = ::read(file.number, content.bytes().data() + size, content.size() - size);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return system_error("cannot read key file", path);
        if (count == 0) break;
        size += static_cast<std::size_t>(count);
    }
    const std::string_view text(reinterpret_cast<const char*>(content.view().data()), size);
    ATOLL_ASSIGN(const std::string_view line, key_line(text, path));
    SecretBytes key(kSeedBytes + kChecksumBytes);
    std::array<std::byte, kChecksumBytes> expected{};
    const Status decoded = from_base64url(line, key.bytes());
    checksum(key.view().first(kSeedBytes), expected);
    if (!decoded.ok() || !std::ranges::equal(key.view().last(kChecksumBytes), expected)) {
        return Error{ErrorCode::corrupt,
                     "key file " + path.string() + " is damaged: its checksum does not match"};
    }
    return from_seed(key.view().first(kSeedBytes));
}

Status Identity::save(const std::filesystem::path& path, std::string_view what) const {
    SecretBytes key(kSeedBytes + kChecksumBytes);
    std::ranges::copy(seed(), key.bytes().begin());
    checksum(seed(), key.bytes().last(kChecksumBytes));
    SecretBytes line(kKeyLineBytes + 1);  // and the zero that libsodium writes, replaced by the line's end
    auto* characters = reinterpret_cast<char*>(line.bytes().data());
    std::ranges::copy(kPrefix, characters);
    sodium_bin2base64(characters + kPrefix.size(), line.size() - kPrefix.size(),
                      reinterpret_cast<const unsigned char*>(key.view().data()), key.size(),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    line.bytes().back() = std::byte{'\n'};
    const std::string comments = "# Atoll " + std::string(what) +
                                 ": whoever reads this file can act in its name\n# peer " + id_.text() +
                                 "\n# fingerprint " + fingerprint(id_) + "\n";

    const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    std::string temporary = path.string() + ".XXXXXX";
    const Descriptor file{::mkostemp(temporary.data(), O_CLOEXEC)};  // mode 0600
    if (file.number < 0) return system_error("cannot create key file", path);
    Status status;
    if (!write_all(file.number, as_byte_view(comments)) || !write_all(file.number, line.view()) ||
        ::fsync(file.number) != 0) {
        status = system_error("cannot write key file", path);
    } else if (::link(temporary.c_str(), path.c_str()) != 0) {  // unlike rename, never replaces
        status = errno == EEXIST
                     ? Error{ErrorCode::refused, "key file " + path.string() +
                                                     " exists and is kept: move it away to make a new key"}
                     : system_error("cannot create key file", path);
    }
    ::unlink(temporary.c_str());
    if (!status.ok()) return status;
    return sync_path(folder);
}

}  // namespace Atoll::gossip

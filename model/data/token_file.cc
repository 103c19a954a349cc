#include "model/data/token_file.h"

#include <fmt/core.h>

#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "base/check.h"

namespace Atoll::model {

static_assert(std::endian::native == std::endian::little, "shards are read in place, little-endian");

namespace {

struct Kind {
    std::int32_t magic;
    std::int32_t version;
    TokenWidth width;
};
constexpr std::array kKinds{Kind{20240520, 1, TokenWidth::bits16}, Kind{20240801, 7, TokenWidth::bits32}};
constexpr std::size_t kHeaderBytes = 256 * sizeof(std::int32_t);
constexpr std::size_t kBufferBytes = std::size_t{1} << 20U;

std::size_t bytes_per_token(TokenWidth width) { return width == TokenWidth::bits16 ? 2 : 4; }

const Kind& kind_of(TokenWidth width) { return width == TokenWidth::bits16 ? kKinds[0] : kKinds[1]; }

std::int32_t header_field(ByteView bytes, std::size_t index) {
    std::int32_t value = 0;
    std::memcpy(&value, bytes.data() + index * sizeof value, sizeof value);
    return value;
}

Error corrupt(const std::filesystem::path& path, const std::string& what) {
    return {ErrorCode::corrupt, fmt::format("token shard {}: {}", path.string(), what)};
}

}  // namespace

Result<TokenFile> TokenFile::open(const std::filesystem::path& path) {
    ATOLL_ASSIGN(MappedFile mapped, MappedFile::open(path));
    TokenFile file(std::move(mapped), path);
    const ByteView bytes = file.file_.view();
    if (bytes.size() < kHeaderBytes) {
        return corrupt(path,
                       fmt::format("{} bytes, shorter than the header of {}; is it empty or cut off? Make it "
                                   "again with `atoll data prepare`",
                                   bytes.size(), kHeaderBytes));
    }
    const std::int32_t magic = header_field(bytes, 0);
    const std::int32_t version = header_field(bytes, 1);
    const std::int32_t tokens = header_field(bytes, 2);
    const Kind* kind = nullptr;
    for (const Kind& candidate : kKinds) {
        if (candidate.magic == magic && candidate.version == version) kind = &candidate;
    }
    if (kind == nullptr) {
        return corrupt(path,
                       fmt::format("magic {} version {} is neither llm.c's GPT-2 shard (20240520, 1) nor its "
                                   "Llama-3 shard (20240801, 7); make shards with `atoll data prepare`",
                                   magic, version));
    }
    if (tokens < 0) return corrupt(path, fmt::format("the header says {} tokens", tokens));
    file.size_ = static_cast<std::uint64_t>(tokens);
    file.width_ = kind->width;
    const std::uint64_t expected = kHeaderBytes + file.size_ * bytes_per_token(kind->width);
    if (bytes.size() != expected) {
        return corrupt(
            path, fmt::format("{} bytes, but its header says {} tokens, which is {} bytes; copy it again, "
                              "or make it again with `atoll data prepare`",
                              bytes.size(), tokens, expected));
    }
    return file;
}

void TokenFile::read(std::uint64_t begin, std::span<std::uint32_t> out) const {
    ATOLL_CHECK(begin <= size_ && out.size() <= size_ - begin);
    const std::byte* source = file_.view().data() + kHeaderBytes + begin * bytes_per_token(width_);
    if (width_ == TokenWidth::bits32) {
        if (!out.empty()) std::memcpy(out.data(), source, out.size_bytes());
        return;
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
        std::uint16_t token = 0;
        std::memcpy(&token, source + 2 * i, sizeof token);
        out[i] = token;
    }
}

Result<TokenFileWriter> TokenFileWriter::create(const std::filesystem::path& path, TokenWidth width) {
    ATOLL_ASSIGN(FileWriter file, FileWriter::create(path));
    const Bytes header(kHeaderBytes);
    ATOLL_TRY(file.append(header));
    return TokenFileWriter(std::move(file), width);
}

Status TokenFileWriter::append(std::span<const std::int32_t> tokens) {
    if (tokens.size() > kTokensMax - size_) {
        return Error{ErrorCode::invalid, fmt::format("a shard holds at most {} tokens", kTokensMax)};
    }
    const std::size_t bytes = bytes_per_token(width_);
    for (const std::int32_t token : tokens) {
        if (token < 0 ||
            (width_ == TokenWidth::bits16 && token > std::numeric_limits<std::uint16_t>::max())) {
            return Error{ErrorCode::invalid, fmt::format("token {} does not fit {} bits", token, 8 * bytes)};
        }
        std::array<std::byte, sizeof token> raw{};
        std::memcpy(raw.data(), &token, sizeof token);
        buffer_.insert(buffer_.end(), raw.begin(), raw.begin() + static_cast<std::ptrdiff_t>(bytes));
        if (buffer_.size() >= kBufferBytes) ATOLL_TRY(flush());
    }
    size_ += tokens.size();
    return {};
}

Status TokenFileWriter::flush() {
    ATOLL_TRY(file_.append(buffer_));
    buffer_.clear();
    return {};
}

Status TokenFileWriter::commit() {
    ATOLL_TRY(flush());
    const Kind& kind = kind_of(width_);
    const std::array<std::int32_t, 3> fields{kind.magic, kind.version, static_cast<std::int32_t>(size_)};
    ATOLL_TRY(file_.overwrite(0, std::as_bytes(std::span(fields))));
    return file_.commit();
}

}  // namespace Atoll::model

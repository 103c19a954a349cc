// Token shards in llm.c's format: a header of 256 little-endian 32-bit integers, then the tokens
// (docs/reference/data.md). GPT-2 shards hold 16-bit tokens (version 1), Llama-3 shards 32-bit tokens
// (version 7).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/files.h"
#include "base/result.h"

namespace Atoll::model {

enum class TokenWidth { bits16, bits32 };

// The narrowest width whose numbers hold every id below `vocabulary`.
[[nodiscard]] constexpr TokenWidth token_width(std::int64_t vocabulary) {
    return vocabulary <= 65536 ? TokenWidth::bits16 : TokenWidth::bits32;
}

// A shard mapped read-only. Movable; any number of threads may read it.
class TokenFile {
  public:
    // Errors (corrupt): shorter than a header, foreign magic or version, length other than the header says.
    [[nodiscard]] static Result<TokenFile> open(const std::filesystem::path& path);

    [[nodiscard]] std::uint64_t size() const { return size_; }  // in tokens
    [[nodiscard]] TokenWidth width() const { return width_; }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    // Tokens begin .. begin + out.size(), as unsigned numbers. Precondition: they lie within the file.
    void read(std::uint64_t begin, std::span<std::uint32_t> out) const;

  private:
    TokenFile(MappedFile file, std::filesystem::path path) : file_(std::move(file)), path_(std::move(path)) {}
    MappedFile file_;
    std::filesystem::path path_;
    TokenWidth width_ = TokenWidth::bits16;
    std::uint64_t size_ = 0;
};

// Writes a shard token by token; the file appears under its name at commit(), complete, or not at all.
class TokenFileWriter {
  public:
    static constexpr std::uint64_t kTokensMax =
        (std::uint64_t{1} << 31U) - 1;  // the header's count is an i32

    [[nodiscard]] static Result<TokenFileWriter> create(const std::filesystem::path& path, TokenWidth width);
    // Errors: the disk is full, a token does not fit the width, more than kTokensMax tokens.
    [[nodiscard]] Status append(std::span<const std::int32_t> tokens);
    [[nodiscard]] std::uint64_t size() const { return size_; }
    [[nodiscard]] Status commit();

  private:
    TokenFileWriter(FileWriter file, TokenWidth width) : file_(std::move(file)), width_(width) {}
    [[nodiscard]] Status flush();
    FileWriter file_;
    TokenWidth width_;
    std::uint64_t size_ = 0;
    Bytes buffer_;
};

}  // namespace Atoll::model

// Text to token ids and back. Implementations: bytes, and byte-level BPE (trained here or from a
// tokenizer.json).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace Atoll::model {

// Immutable: any number of threads may use one at once.
class Tokenizer {
  public:
    virtual ~Tokenizer() = default;
    // Appends the ids of `text` (any bytes, UTF-8 or not). No begin-of-text is added; the text of a special
    // token becomes that token. Errors: the vocabulary lacks a byte of the text.
    [[nodiscard]] virtual Status encode(std::string_view text, std::vector<std::int32_t>& ids) const = 0;
    // Appends the bytes of `ids`; an id outside the vocabulary gives nothing. decode(encode(x)) == x.
    virtual void decode(std::span<const std::int32_t> ids, std::string& text) const = 0;
    // Every id is below it.
    [[nodiscard]] virtual std::int64_t vocabulary() const = 0;
    // What separates documents, where the vocabulary has such a token.
    [[nodiscard]] virtual std::optional<std::int32_t> end_of_text() const = 0;
    // As a Hugging Face tokenizer.json.
    [[nodiscard]] virtual std::string to_json() const = 0;

    [[nodiscard]] Result<std::vector<std::int32_t>> encode(std::string_view text) const;
    [[nodiscard]] std::string decode(std::span<const std::int32_t> ids) const;
};

// 256 ids, one a byte.
[[nodiscard]] std::unique_ptr<Tokenizer> make_byte_tokenizer();

// A Hugging Face tokenizer.json of byte-level BPE (GPT-2 and Llama-3 style), or a folder that holds one.
// Errors: unreadable, not valid, or of a kind that would be encoded wrongly (names the setting and its
// value).
[[nodiscard]] Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::filesystem::path& path);
// The same from its text; `origin` names it in messages.
[[nodiscard]] Result<std::unique_ptr<Tokenizer>> tokenizer_from_json(const std::string& text,
                                                                     const std::string& origin);

}  // namespace Atoll::model

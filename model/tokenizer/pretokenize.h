// Cuts text into pre-tokens, across whose borders BPE never merges, by regular expressions (PCRE2, UTF,
// Unicode classes).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace Atoll::model {

// GPT-2's pattern; the other patterns we meet come from tokenizer.json files.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Immutable: any number of threads may use one at once.
class Pretokenizer {
  public:
    // Patterns are applied one after the other, each to the pieces of the one before; matches and what lies
    // between them are pieces of their own ("Isolated"). None: the text is one piece. Errors (invalid): a
    // pattern does not compile.
    [[nodiscard]] static Result<Pretokenizer> create(const std::vector<std::string>& patterns);
    Pretokenizer(Pretokenizer&&) noexcept;
    Pretokenizer& operator=(Pretokenizer&&) noexcept;
    ~Pretokenizer();

    // Appends the pieces of `text`, in order, without loss: they are views into it. Bytes that are not UTF-8
    // match no pattern. Errors: a pattern needs more work than the limit allows.
    [[nodiscard]] Status split(std::string_view text, std::vector<std::string_view>& pieces) const;

  private:
    struct Pattern;
    Pretokenizer();
    std::vector<std::unique_ptr<Pattern>> patterns_;
};

// Where text can be cut in two without changing its pre-tokens: before a space that follows a printable ASCII
// character, which none of GPT-2's, Llama-3's and our patterns takes into one piece. Returns the first such
// place at or after `from` and at most `reach` bytes beyond it; otherwise the next border between UTF-8
// characters.
[[nodiscard]] std::size_t safe_cut(std::string_view text, std::size_t from, std::size_t reach = 1U << 16U);

}  // namespace Atoll::model

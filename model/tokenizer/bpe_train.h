// Training of byte-level BPE: GPT-2's pre-tokens, the most frequent pair merged first.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.h"
#include "model/tokenizer/pretokenize.h"
#include "model/tokenizer/tokenizer.h"

namespace Atoll::model {

inline constexpr std::string_view kEndOfText = "<|endoftext|>";
inline constexpr std::int64_t kBpeVocabularyMin = 257;  // every byte, and the end of text
inline constexpr std::int64_t kBpeVocabularyMax = 1 << 20;

// Feed text, then train once. Memory grows with the number of different words, not with the text.
class BpeTrainer {
  public:
    [[nodiscard]] static Result<BpeTrainer> create();

    // Texts are independent: no word runs across two calls.
    [[nodiscard]] Status add(std::string_view text);

    // Ids: bytes 0..255, then merged tokens in order of their rank, the end of text last. Equal counts: the
    // pair with the smaller ids goes first, so that the same text gives the same tokenizer everywhere. Fewer
    // tokens than `vocabulary` when no pair is left that occurs twice. Errors (invalid): vocabulary outside
    // the limits above.
    [[nodiscard]] Result<std::unique_ptr<Tokenizer>> train(std::int64_t vocabulary) const;

  private:
    struct TextHash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
    };
    explicit BpeTrainer(Pretokenizer pretokenizer) : pretokenizer_(std::move(pretokenizer)) {}

    Pretokenizer pretokenizer_;
    std::unordered_map<std::string, std::int64_t, TextHash, std::equal_to<>>
        words_;  // how often each pre-token occurs
};

}  // namespace Atoll::model

#include "model/tokenizer/bpe_train.h"

#include <fmt/core.h>

#include <algorithm>
#include <queue>
#include <vector>

#include "base/rng.h"
#include "model/tokenizer/bpe.h"

namespace Atoll::model {

namespace {

struct Word {
    std::vector<std::int32_t> symbols;
    std::int64_t count;
};

struct PairUse {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // where it occurred once; some may have lost it since
};

struct Candidate {
    std::int64_t count;  // when it was pushed: an upper bound, as counts only fall afterwards
    std::int32_t left;
    std::int32_t right;

    // The "largest" candidate goes first: most frequent, then smallest ids.
    bool operator<(const Candidate& other) const {
        if (count != other.count) return count < other.count;
        if (left != other.left) return left > other.left;
        return right > other.right;
    }
};

// The state of training: words as symbols, and every adjacent pair with its count.
class MergeFinder {
  public:
    explicit MergeFinder(std::vector<Word> words) : words_(std::move(words)) {
        for (std::size_t w = 0; w < words_.size(); ++w) {
            const auto& symbols = words_[w].symbols;
            for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
                PairUse& use = pairs_[key(symbols[i], symbols[i + 1])];
                use.count += words_[w].count;
                note(use, w);
            }
        }
        for (const auto& [pair, use] : pairs_) push(pair, use.count);
    }

    // The next pair to merge, with its present count; count 0 when none is left.
    Candidate best() {
        while (!candidates_.empty()) {
            Candidate top = candidates_.top();
            candidates_.pop();
            const std::int64_t count = pairs_[key(top.left, top.right)].count;
            if (count == top.count) return top;
            if (count > 0) candidates_.push({count, top.left, top.right});
        }
        return {0, 0, 0};
    }

    void merge(const Candidate& pair, std::int32_t merged) {
        const std::vector<std::uint32_t> affected = std::move(pairs_[key(pair.left, pair.right)].words);
        std::vector<std::uint64_t> grown;
        for (const std::uint32_t w : affected) merge_in_word(w, pair, merged, grown);
        std::sort(grown.begin(), grown.end());
        grown.erase(std::unique(grown.begin(), grown.end()), grown.end());
        for (const std::uint64_t pair_key : grown) push(pair_key, pairs_[pair_key].count);
        pairs_.erase(key(pair.left, pair.right));
    }

  private:
    struct KeyHash {
        std::size_t operator()(std::uint64_t value) const { return mix64(value); }
    };

    static std::uint64_t key(std::int32_t left, std::int32_t right) {
        return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32U) | static_cast<std::uint32_t>(right);
    }
    static void note(PairUse& use, std::size_t word) {
        if (use.words.empty() || use.words.back() != word)
            use.words.push_back(static_cast<std::uint32_t>(word));
    }
    void push(std::uint64_t pair, std::int64_t count) {
        if (count > 0)
            candidates_.push({count, static_cast<std::int32_t>(pair >> 32U),
                              static_cast<std::int32_t>(pair & 0xFFFFFFFFU)});
    }

    void merge_in_word(std::uint32_t index, const Candidate& pair, std::int32_t merged,
                       std::vector<std::uint64_t>& grown) {
        Word& word = words_[index];
        auto& symbols = word.symbols;
        std::vector<std::int32_t> result;
        result.reserve(symbols.size());
        for (std::size_t i = 0; i < symbols.size(); ++i) {
            const bool hit =
                symbols[i] == pair.left && i + 1 < symbols.size() && symbols[i + 1] == pair.right;
            result.push_back(hit ? merged : symbols[i]);
            if (hit) ++i;
        }
        if (result.size() == symbols.size()) return;
        for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
            pairs_[key(symbols[i], symbols[i + 1])].count -= word.count;
        for (std::size_t i = 0; i + 1 < result.size(); ++i) {
            PairUse& use = pairs_[key(result[i], result[i + 1])];
            use.count += word.count;
            if (result[i] != merged && result[i + 1] != merged) continue;
            note(use, index);
            grown.push_back(key(result[i], result[i + 1]));
        }
        symbols = std::move(result);
    }

    std::vector<Word> words_;
    std::unordered_map<std::uint64_t, PairUse, KeyHash> pairs_;
    std::priority_queue<Candidate> candidates_;
};

}  // namespace

Result<BpeTrainer> BpeTrainer::create() {
    ATOLL_ASSIGN(Pretokenizer pretokenizer, Pretokenizer::create({std::string(kGpt2Pattern)}));
    return BpeTrainer(std::move(pretokenizer));
}

Status BpeTrainer::add(std::string_view text) {
    std::vector<std::string_view> pieces;
    ATOLL_TRY(pretokenizer_.split(text, pieces));
    for (const std::string_view piece : pieces) {
        const auto it = words_.find(piece);
        if (it != words_.end()) {
            ++it->second;
        } else {
            words_.emplace(piece, 1);
        }
    }
    return {};
}

Result<std::unique_ptr<Tokenizer>> BpeTrainer::train(std::int64_t vocabulary) const {
    if (vocabulary < kBpeVocabularyMin || vocabulary > kBpeVocabularyMax) {
        return Error{ErrorCode::invalid, fmt::format("tokenizer bpe:{}: expected a vocabulary of {} to {}",
                                                     vocabulary, kBpeVocabularyMin, kBpeVocabularyMax)};
    }
    std::vector<Word> words;
    words.reserve(words_.size());
    for (const auto& [text, count] : words_) {
        Word word{{}, count};
        for (const char c : text) word.symbols.push_back(static_cast<unsigned char>(c));
        words.push_back(std::move(word));
    }
    MergeFinder finder(std::move(words));
    BpeModel model = byte_level_model();
    model.patterns.emplace_back(kGpt2Pattern);
    while (static_cast<std::int64_t>(model.tokens.size()) + 1 < vocabulary) {
        const Candidate best = finder.best();
        if (best.count < 2) break;
        const auto merged = static_cast<std::int32_t>(model.tokens.size());
        model.tokens.push_back(model.tokens[static_cast<std::size_t>(best.left)] +
                               model.tokens[static_cast<std::size_t>(best.right)]);
        model.merges.push_back({best.left, best.right, merged});
        finder.merge(best, merged);
    }
    model.end_of_text = static_cast<std::int32_t>(model.tokens.size());
    model.tokens.emplace_back(kEndOfText);
    model.specials.push_back({*model.end_of_text, std::string(kEndOfText)});
    return make_bpe_tokenizer(std::move(model));
}

}  // namespace Atoll::model

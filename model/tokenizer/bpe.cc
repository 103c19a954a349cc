#include "model/tokenizer/bpe.h"

#include <fmt/core.h>

#include <algorithm>
#include <bitset>
#include <numeric>
#include <unordered_map>

#include "model/tokenizer/pretokenize.h"

namespace Atoll::model {

namespace {

class BpeTokenizer final : public Tokenizer {
  public:
    BpeTokenizer(BpeModel model, Pretokenizer pretokenizer)
        : model_(std::move(model)), pretokenizer_(std::move(pretokenizer)), merges_(model_.merges) {
        for (std::size_t id = 0; model_.ignore_merges && id < model_.tokens.size(); ++id) {
            if (!model_.tokens[id].empty())
                whole_tokens_.try_emplace(model_.tokens[id], static_cast<std::int32_t>(id));
        }
        // Of two special tokens that begin alike the longer one is meant.
        std::stable_sort(model_.specials.begin(), model_.specials.end(),
                         [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
        for (const auto& special : model_.specials)
            special_starts_.set(static_cast<unsigned char>(special.text[0]));
    }

    [[nodiscard]] Status encode(std::string_view text, std::vector<std::int32_t>& ids) const override {
        // Most words of a text are repetitions: each distinct one is merged once a call.
        WordCache cache;
        std::size_t begin = 0;
        for (std::size_t i = 0; i < text.size();) {
            const BpeModel::Special* special = special_at(text.substr(i));
            if (special == nullptr) {
                ++i;
                continue;
            }
            ATOLL_TRY(encode_ordinary(text.substr(begin, i - begin), cache, ids));
            ids.push_back(special->id);
            begin = i += special->text.size();
        }
        return encode_ordinary(text.substr(begin), cache, ids);
    }

    void decode(std::span<const std::int32_t> ids, std::string& text) const override {
        for (const std::int32_t id : ids) {
            if (id >= 0 && id < vocabulary()) text += model_.tokens[static_cast<std::size_t>(id)];
        }
    }
    [[nodiscard]] std::int64_t vocabulary() const override {
        return static_cast<std::int64_t>(model_.tokens.size());
    }
    [[nodiscard]] std::optional<std::int32_t> end_of_text() const override { return model_.end_of_text; }
    [[nodiscard]] std::string to_json() const override {
        return model_.source_json.empty() ? bpe_to_json(model_) : model_.source_json;
    }

  private:
    using WordCache = std::unordered_map<std::string_view, std::vector<std::int32_t>>;

    [[nodiscard]] const BpeModel::Special* special_at(std::string_view text) const {
        if (!special_starts_.test(static_cast<unsigned char>(text[0]))) return nullptr;
        for (const auto& special : model_.specials) {
            if (text.starts_with(special.text)) return &special;
        }
        return nullptr;
    }

    [[nodiscard]] Status encode_ordinary(std::string_view text, WordCache& cache,
                                         std::vector<std::int32_t>& ids) const {
        std::vector<std::string_view> words;
        ATOLL_TRY(pretokenizer_.split(text, words));
        for (const std::string_view word : words) {
            const auto [entry, is_new] = cache.try_emplace(word);
            if (is_new) ATOLL_TRY(encode_word(word, entry->second));
            ids.insert(ids.end(), entry->second.begin(), entry->second.end());
        }
        return {};
    }

    [[nodiscard]] Status encode_word(std::string_view word, std::vector<std::int32_t>& ids) const {
        if (model_.ignore_merges) {
            const auto whole = whole_tokens_.find(word);
            if (whole != whole_tokens_.end()) {
                ids.push_back(whole->second);
                return {};
            }
        }
        for (const char c : word) {
            const auto byte = static_cast<unsigned char>(c);
            if (model_.byte_ids[byte] < 0) {
                return Error{
                    ErrorCode::invalid,
                    fmt::format("the tokenizer has no token for byte 0x{:02x}; train one on this text with "
                                "`--tokenizer bpe:N`, or use `byte`",
                                byte)};
            }
            ids.push_back(model_.byte_ids[byte]);
        }
        merges_.apply(ids);
        return {};
    }

    BpeModel model_;
    Pretokenizer pretokenizer_;
    MergeTable merges_;
    std::unordered_map<std::string_view, std::int32_t> whole_tokens_;  // views into model_.tokens
    std::bitset<256> special_starts_;
};

}  // namespace

BpeModel byte_level_model() {
    BpeModel model;
    for (int byte = 0; byte < 256; ++byte) model.tokens.emplace_back(1, static_cast<char>(byte));
    std::iota(model.byte_ids.begin(), model.byte_ids.end(), 0);
    return model;
}

Result<std::unique_ptr<Tokenizer>> make_bpe_tokenizer(BpeModel model) {
    ATOLL_ASSIGN(Pretokenizer pretokenizer, Pretokenizer::create(model.patterns));
    return std::unique_ptr<Tokenizer>(
        std::make_unique<BpeTokenizer>(std::move(model), std::move(pretokenizer)));
}

}  // namespace Atoll::model

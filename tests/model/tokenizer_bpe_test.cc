#include "model/tokenizer/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>

#include "base/rng.h"
#include "model/tokenizer/bpe_train.h"
#include "model/tokenizer/byte_alphabet.h"
#include "model/tokenizer/pretokenize.h"

namespace Atoll::model {

using ::testing::ElementsAre;

namespace {

std::string random_bytes(Rng& rng, std::size_t length) {
    std::string text;
    for (std::size_t i = 0; i < length; ++i) text += static_cast<char>(rng.below(256));
    return text;
}

std::string words(Rng& rng, int count) {
    static const std::vector<std::string> kWords{"the", "then",  "other", "mother", "her", "ether",
                                                 "é",   "naïve", "12",    "don't",  "\n"};
    std::string text;
    for (int i = 0; i < count; ++i) text += (i == 0 ? "" : " ") + kWords[rng.below(kWords.size())];
    return text;
}

std::unique_ptr<Tokenizer> train(std::string_view text, std::int64_t vocabulary) {
    auto trainer = BpeTrainer::create();
    EXPECT_TRUE(trainer.ok());
    EXPECT_TRUE(trainer->add(text).ok());
    auto tokenizer = trainer->train(vocabulary);
    EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
    return std::move(*tokenizer);
}

TEST(ByteAlphabet, Follows_gpt2) {
    EXPECT_EQ(byte_character(' '), "Ġ");
    EXPECT_EQ(byte_character('\n'), "Ċ");
    EXPECT_EQ(byte_character('A'), "A");
    EXPECT_EQ(byte_character(0), "Ā");
    EXPECT_EQ(byte_character(173), "Ń");
    EXPECT_EQ(byte_character(255), "ÿ");
    std::set<std::string> characters;
    for (int byte = 0; byte < 256; ++byte) characters.insert(byte_character(static_cast<std::uint8_t>(byte)));
    EXPECT_EQ(characters.size(), 256U);
}

TEST(ByteAlphabet, Comes_back) {
    std::string all;
    for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
    EXPECT_EQ(alphabet_to_bytes(bytes_to_alphabet(all)), all);
    EXPECT_EQ(alphabet_to_bytes(" "), std::nullopt);
    EXPECT_EQ(alphabet_to_bytes("日"), std::nullopt);
    EXPECT_EQ(alphabet_to_bytes("\xc4"), std::nullopt);
}

TEST(ByteTokenizer, Is_the_bytes) {
    const auto tokenizer = make_byte_tokenizer();
    EXPECT_EQ(tokenizer->vocabulary(), 256);
    EXPECT_EQ(tokenizer->end_of_text(), std::nullopt);
    const auto ids = tokenizer->encode("A\xff");
    ASSERT_TRUE(ids.ok());
    EXPECT_THAT(*ids, ElementsAre(65, 255));
    EXPECT_EQ(tokenizer->decode(std::vector<std::int32_t>{65, 300, -1, 255}), "A\xff");
}

// The definition, step by step: the pair of lowest rank anywhere, the leftmost of equals, until there is
// none.
std::vector<std::int32_t> merge_naively(std::vector<std::int32_t> word, const std::vector<Merge>& merges) {
    for (;;) {
        std::size_t best_rank = merges.size();
        std::size_t best_at = 0;
        for (std::size_t at = 0; at + 1 < word.size(); ++at) {
            for (std::size_t rank = 0; rank < best_rank; ++rank) {
                if (merges[rank].left != word[at] || merges[rank].right != word[at + 1]) continue;
                best_rank = rank;
                best_at = at;
            }
        }
        if (best_rank == merges.size()) return word;
        word[best_at] = merges[best_rank].merged;
        word.erase(word.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
    }
}

TEST(MergeTable, Agrees_with_the_definition_on_random_rules) {
    Rng rng(4);
    for (int trial = 0; trial < 400; ++trial) {
        std::vector<Merge> merges;
        std::set<std::pair<std::int32_t, std::int32_t>> pairs;
        const auto alphabet = 2 + static_cast<std::int32_t>(rng.below(4));
        for (std::int32_t i = 0; i < 12; ++i) {
            // Not only trained ones: a later token may rank before those it is made of.
            const auto left = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(alphabet + i)));
            const auto right = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(alphabet + i)));
            if (pairs.insert({left, right}).second) merges.push_back({left, right, alphabet + i});
        }
        if (trial % 2 == 0) {
            for (std::size_t i = merges.size(); i > 1; --i) std::swap(merges[i - 1], merges[rng.below(i)]);
        }
        const MergeTable table(merges);
        for (int w = 0; w < 20; ++w) {
            std::vector<std::int32_t> word(rng.below(40));
            for (auto& symbol : word)
                symbol = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(alphabet)));
            const auto expected = merge_naively(word, merges);
            table.apply(word);
            ASSERT_EQ(word, expected) << "trial " << trial;
        }
    }
}

TEST(MergeTable, Long_words_take_no_quadratic_time) {
    std::vector<Merge> merges;
    for (std::int32_t i = 0; i < 20; ++i) merges.push_back({i, i, i + 1});
    std::vector<std::int32_t> word(1U << 18U, 0);  // the naive way would need 7e10 steps
    MergeTable(merges).apply(word);
    EXPECT_THAT(word, ElementsAre(18));
}

// The textbook way to train, over the same pre-tokens: count every pair anew for each merge.
std::vector<Merge> train_naively(std::string_view text, std::size_t count) {
    std::vector<std::string_view> pieces;
    EXPECT_TRUE(Pretokenizer::create({std::string(kGpt2Pattern)})->split(text, pieces).ok());
    std::vector<std::vector<std::int32_t>> all;
    for (const auto piece : pieces) {
        all.emplace_back();
        for (const char c : piece) all.back().push_back(static_cast<unsigned char>(c));
    }
    std::vector<Merge> merges;
    while (merges.size() < count) {
        std::map<std::pair<std::int32_t, std::int32_t>, int> counts;
        for (const auto& word : all) {
            for (std::size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
        }
        auto best = counts.end();
        for (auto it = counts.begin(); it != counts.end(); ++it) {
            if (best == counts.end() || it->second > best->second) best = it;
        }
        if (best == counts.end() || best->second < 2) break;
        merges.push_back(
            {best->first.first, best->first.second, 256 + static_cast<std::int32_t>(merges.size())});
        for (auto& word : all) word = merge_naively(word, {merges.back()});
    }
    return merges;
}

TEST(BpeTrainer, Finds_the_merges_of_the_textbook) {
    Rng rng(6);
    for (int trial = 0; trial < 5; ++trial) {
        const std::string text = trial == 4 ? "aaaa aaaaa aaa aaaaaaa bababab" : words(rng, 300);
        const auto merges = train_naively(text, 60);
        const auto tokenizer = train(text, 257 + 60);
        ASSERT_EQ(tokenizer->vocabulary(), 257 + static_cast<std::int64_t>(merges.size()));
        for (const Merge& merge : merges) {
            const auto part = [&](std::int32_t id) { return tokenizer->decode(std::vector{id}); };
            ASSERT_EQ(part(merge.merged), part(merge.left) + part(merge.right)) << "trial " << trial;
        }
    }
}

TEST(BpeTrainer, End_of_text_is_the_last_token_and_is_recognised_in_text) {
    Rng rng(6);
    const auto tokenizer = train(words(rng, 500), 280);
    EXPECT_EQ(tokenizer->vocabulary(), 280);
    ASSERT_EQ(tokenizer->end_of_text(), 279);
    const auto ids = tokenizer->encode("a<|endoftext|>b<|endof");
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ((*ids)[0], 'a');
    EXPECT_EQ((*ids)[1], 279);
    EXPECT_EQ(tokenizer->decode(*ids), "a<|endoftext|>b<|endof");
}

TEST(BpeTrainer, Makes_text_shorter_and_gives_back_any_bytes) {
    Rng rng(8);
    const auto tokenizer = train(words(rng, 2000), 400);
    const std::string text = words(rng, 200);
    const auto ids = tokenizer->encode(text);
    ASSERT_TRUE(ids.ok());
    EXPECT_LT(ids->size() * 3, text.size());
    for (int i = 0; i < 500; ++i) {
        const std::string bytes = random_bytes(rng, rng.below(200));
        const auto encoded = tokenizer->encode(bytes);
        ASSERT_TRUE(encoded.ok()) << encoded.error().message;
        ASSERT_EQ(tokenizer->decode(*encoded), bytes);
    }
}

TEST(BpeTrainer, Its_tokenizer_json_encodes_the_same) {
    Rng rng(9);
    const auto tokenizer = train(words(rng, 2000), 320);
    const auto loaded = tokenizer_from_json(tokenizer->to_json(), "trained");
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    EXPECT_EQ((*loaded)->vocabulary(), tokenizer->vocabulary());
    EXPECT_EQ((*loaded)->end_of_text(), tokenizer->end_of_text());
    EXPECT_EQ((*loaded)->to_json(), tokenizer->to_json());
    for (int i = 0; i < 100; ++i) {
        const std::string text = words(rng, 30) + random_bytes(rng, 10);
        ASSERT_EQ(*(*loaded)->encode(text), *tokenizer->encode(text));
    }
}

TEST(BpeTrainer, Sizes_outside_the_limits_are_refused) {
    auto trainer = BpeTrainer::create();
    ASSERT_TRUE(trainer.ok());
    EXPECT_EQ(trainer->train(256).error().code, ErrorCode::invalid);
    EXPECT_EQ(trainer->train(std::numeric_limits<std::int64_t>::max()).error().code, ErrorCode::invalid);
    auto smallest = trainer->train(257);
    ASSERT_TRUE(smallest.ok());
    EXPECT_EQ((*smallest)->vocabulary(), 257);
}

}  // namespace

}  // namespace Atoll::model

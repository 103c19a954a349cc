#include "model/tokenizer/pretokenize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"

namespace Atoll::model {

using ::testing::ElementsAre;

namespace {

using Pieces = std::vector<std::string_view>;

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Pretokenizer make(std::string_view pattern) {
    auto result = Pretokenizer::create({std::string(pattern)});
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    return std::move(*result);
}

Pieces split(std::string_view pattern, std::string_view text) {
    Pieces pieces;
    const Status status = make(pattern).split(text, pieces);
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    return pieces;
}

TEST(Pretokenizer, Gpt2_contractions) {
    EXPECT_THAT(split(kGpt2Pattern, "we'll've I'd can't It'S"),
                ElementsAre("we", "'ll", "'ve", " I", "'d", " can", "'t", " It", "'", "S"));
}

TEST(Pretokenizer, Gpt2_runs_of_space_leave_one_for_the_word) {
    EXPECT_THAT(split(kGpt2Pattern, "a   b\n\n c\t\td  "),
                ElementsAre("a", "  ", " b", "\n\n", " c", "\t", "\t", "d", "  "));
}

TEST(Pretokenizer, Gpt2_numbers_and_punctuation) {
    EXPECT_THAT(split(kGpt2Pattern, "x=12345, 6.7!?"),
                ElementsAre("x", "=", "12345", ",", " 6", ".", "7", "!?"));
}

TEST(Pretokenizer, Gpt2_knows_the_letters_numbers_and_spaces_of_unicode) {
    EXPECT_THAT(split(kGpt2Pattern, "Straße naïve日本 ٣٤½ \u00a0x\u3000y 👍🏽"),
                ElementsAre("Straße", " naïve日本", " ٣٤½", " ", "\u00a0", "x", "\u3000", "y", " 👍🏽"));
}

TEST(Pretokenizer, Llama3_groups_digits_by_three_and_keeps_newlines_with_punctuation) {
    EXPECT_THAT(split(kLlama3Pattern, "I'M 12345 (ok).\n\n  x"),
                ElementsAre("I", "'M", " ", "123", "45", " (", "ok", ").\n\n", " ", " x"));
}

TEST(Pretokenizer, Bytes_that_are_not_utf8_are_pieces_of_their_own) {
    EXPECT_THAT(split(kGpt2Pattern, "ab\xff\xfe cd\xe2\x82"),
                ElementsAre("ab", "\xff\xfe", " cd", "\xe2\x82"));
}

TEST(Pretokenizer, Patterns_follow_one_another) {
    auto result = Pretokenizer::create({"\\p{N}", std::string(kGpt2Pattern)});
    ASSERT_TRUE(result.ok());
    Pieces pieces;
    ASSERT_TRUE(result->split("ab12 c", pieces).ok());
    EXPECT_THAT(pieces, ElementsAre("ab", "1", "2", " c"));
}

TEST(Pretokenizer, A_pattern_that_does_not_compile_is_refused_with_the_place) {
    const auto result = Pretokenizer::create({"a(b"});
    ASSERT_FALSE(result.ok());
    EXPECT_THAT(result.error().message, ::testing::HasSubstr("`a(b`"));
}

TEST(Pretokenizer, A_pattern_that_matches_nothing_ends) {
    EXPECT_THAT(split("x*", "aéb"), ElementsAre("aéb"));
}

// Characters of every kind that patterns know, and some bytes that are none.
std::string random_text(Rng& rng, std::size_t length) {
    static const std::vector<std::string> kParts{"a",  "b",  "Z", "é", "日", "7", "½", " ",    " ",
                                                 "\n", "\t", "'", "s", "!",  ".", "👍", "\xff", "\u00a0"};
    std::string text;
    for (std::size_t i = 0; i < length; ++i) text += kParts[rng.below(kParts.size())];
    return text;
}

TEST(Pretokenizer, Pieces_are_the_text_without_loss) {
    Rng rng(1);
    for (const std::string_view pattern : {kGpt2Pattern, kLlama3Pattern}) {
        const Pretokenizer pretokenizer = make(pattern);
        for (int i = 0; i < 300; ++i) {
            const std::string text = random_text(rng, rng.below(60));
            Pieces pieces;
            ASSERT_TRUE(pretokenizer.split(text, pieces).ok());
            std::string joined;
            for (const std::string_view piece : pieces) {
                ASSERT_FALSE(piece.empty());
                joined += piece;
            }
            ASSERT_EQ(joined, text);
        }
    }
}

TEST(SafeCut, Cutting_there_changes_no_piece) {
    Rng rng(2);
    int cuts = 0;
    for (const std::string_view pattern : {kGpt2Pattern, kLlama3Pattern}) {
        const Pretokenizer pretokenizer = make(pattern);
        for (int i = 0; i < 500; ++i) {
            const std::string text = random_text(rng, 60);
            const std::size_t cut = safe_cut(text, rng.below(text.size()));
            // Only a cut before a space promises it; without one the text is cut anywhere.
            if (cut == 0 || cut >= text.size() || text[cut] != ' ' || text[cut - 1] <= ' ' ||
                text[cut - 1] >= 0x7F)
                continue;
            ++cuts;
            Pieces whole;
            Pieces parts;
            ASSERT_TRUE(pretokenizer.split(text, whole).ok());
            ASSERT_TRUE(pretokenizer.split(std::string_view(text).substr(0, cut), parts).ok());
            ASSERT_TRUE(pretokenizer.split(std::string_view(text).substr(cut), parts).ok());
            ASSERT_EQ(whole, parts) << text << " at " << cut;
        }
    }
    EXPECT_GT(cuts, 500);
}

TEST(SafeCut, Without_a_space_it_keeps_characters_whole) {
    EXPECT_EQ(safe_cut("日本語", 1), 3U);
    EXPECT_EQ(safe_cut("abc", 1), 1U);
    EXPECT_EQ(safe_cut("abc", 5), 3U);
}

// A megabyte of one kind of character: no stack overflow, no quadratic time.
TEST(Pretokenizer, Long_runs_are_fine) {
    for (const char c : {' ', 'a', '1', '!', '\n'}) {
        const std::string text(1U << 20U, c);
        EXPECT_FALSE(split(kGpt2Pattern, text).empty());
    }
}

}  // namespace

}  // namespace Atoll::model

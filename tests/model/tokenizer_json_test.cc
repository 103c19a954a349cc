#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/tokenizer/bpe.h"
#include "model/tokenizer/bpe_train.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/model/io_files.h"

namespace Atoll::model {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

// The corner of GPT-2's vocabulary that two greetings need, with its true ids and the merges that lead there
// in their order.
json gpt2_corner() {
    return json::parse(R"({
      "version": "1.0", "truncation": null, "padding": null,
      "added_tokens": [{"id": 50256, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false,
                        "normalized": false, "special": true}],
      "normalizer": null,
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
      "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false},
      "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true},
      "model": {"dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                "fuse_unk": false, "type": "BPE",
                "vocab": {"H": 39, "e": 68, "l": 75, "o": 78, "r": 81, "d": 67, "w": 86, "Ġ": 220, "or": 273, "ll": 297,
                          "Ġw": 266, "Ġwor": 476, "ld": 335, "Ġworld": 995, "ell": 695, "ello": 11109, "Hello": 15496, "ĠH": 367, "ĠHello": 18435,
                          "<|endoftext|>": 50256},
                "merges": ["Ġ w", "o r", "l l", "l d", "Ġ H", "Ġw or", "e ll", "Ġwor ld", "ell o", "H ello", "ĠH ello"]}
    })");
}

std::unique_ptr<Tokenizer> load(const json& root) {
    auto tokenizer = tokenizer_from_json(root.dump(), "fixture");
    EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
    return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

std::string error_of(const json& root) {
    auto tokenizer = tokenizer_from_json(root.dump(), "fixture");
    EXPECT_FALSE(tokenizer.ok());
    return tokenizer.ok() ? "" : tokenizer.error().message;
}

std::vector<std::int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
    auto ids = tokenizer.encode(text);
    EXPECT_TRUE(ids.ok()) << (ids.ok() ? "" : ids.error().message);
    return ids.ok() ? *ids : std::vector<std::int32_t>();
}

TEST(TokenizerJson, Gpt2_golden_vectors) {
    const auto tokenizer = load(gpt2_corner());
    EXPECT_THAT(encode(*tokenizer, "Hello world"), ElementsAre(15496, 995));
    EXPECT_THAT(encode(*tokenizer, " Hello world"), ElementsAre(18435, 995));
    EXPECT_EQ(tokenizer->decode(std::vector<std::int32_t>{18435, 995}), " Hello world");
    EXPECT_EQ(tokenizer->vocabulary(), 50257);
    EXPECT_EQ(tokenizer->end_of_text(), 50256);
    EXPECT_THAT(encode(*tokenizer, "Hello<|endoftext|> world"), ElementsAre(15496, 50256, 995));
}

TEST(TokenizerJson, Merges_may_be_pairs) {
    json root = gpt2_corner();
    for (json& merge : root["model"]["merges"]) {
        const auto text = merge.get<std::string>();
        const auto space = text.find(' ');
        merge = json::array({text.substr(0, space), text.substr(space + 1)});
    }
    EXPECT_THAT(encode(*load(root), " Hello world"), ElementsAre(18435, 995));
}

TEST(TokenizerJson, Llama3_style_takes_known_words_whole) {
    json root = gpt2_corner();
    const std::string pattern =
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    root["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}},
          {{"type", "ByteLevel"},
           {"add_prefix_space", false},
           {"trim_offsets", true},
           {"use_regex", false}}}}};
    root["model"]["merges"] = json::array({"l l"});
    EXPECT_THAT(encode(*load(root), "Hello world"), ElementsAre(39, 68, 297, 78, 220, 86, 78, 81, 75, 67));
    root["model"]["ignore_merges"] = true;
    EXPECT_THAT(encode(*load(root), "Hello world"), ElementsAre(15496, 995));
}

TEST(TokenizerJson, A_byte_that_the_vocabulary_lacks_is_named) {
    const auto ids = load(gpt2_corner())->encode("Hello you");
    ASSERT_FALSE(ids.ok());
    EXPECT_THAT(ids.error().message, HasSubstr("0x79"));
}

TEST(TokenizerJson, What_would_encode_differently_is_refused_by_name) {
    const auto changed = [](const std::string& pointer, const json& value) {
        json root = gpt2_corner();
        root[json::json_pointer(pointer)] = value;
        return error_of(root);
    };
    EXPECT_THAT(changed("/model/type", "Unigram"), HasSubstr("Unigram"));
    EXPECT_THAT(changed("/model/byte_fallback", true), HasSubstr("model.byte_fallback"));
    EXPECT_THAT(changed("/model/fuse_unk", true), HasSubstr("model.fuse_unk"));
    EXPECT_THAT(changed("/model/dropout", 0.1), HasSubstr("model.dropout"));
    EXPECT_THAT(changed("/model/continuing_subword_prefix", "##"), HasSubstr("##"));
    EXPECT_THAT(changed("/model/end_of_word_suffix", "</w>"), HasSubstr("</w>"));
    EXPECT_THAT(changed("/normalizer", {{"type", "NFC"}}), HasSubstr("NFC"));
    EXPECT_THAT(changed("/pre_tokenizer", nullptr), HasSubstr("pre_tokenizer"));
    EXPECT_THAT(changed("/pre_tokenizer/type", "Metaspace"), HasSubstr("Metaspace"));
    EXPECT_THAT(changed("/pre_tokenizer/add_prefix_space", true), HasSubstr("add_prefix_space"));
    EXPECT_THAT(changed("/added_tokens/0/lstrip", true), HasSubstr("lstrip"));
}

TEST(TokenizerJson, Contradictions_are_refused) {
    const auto changed = [](const std::string& pointer, const json& value) {
        json root = gpt2_corner();
        root[json::json_pointer(pointer)] = value;
        return error_of(root);
    };
    EXPECT_THAT(changed("/model/merges/0", "Ġ x"), HasSubstr("merge"));
    EXPECT_THAT(changed("/model/merges/0", 7), HasSubstr("merge"));
    EXPECT_THAT(changed("/model/vocab/H", 68), HasSubstr("two tokens have id 68"));
    EXPECT_THAT(changed("/model/vocab/H", -1), HasSubstr("has id -1"));
    EXPECT_THAT(changed("/model/vocab/H", 4'000'000'000ULL), HasSubstr("has id 4000000000"));
    EXPECT_THAT(changed("/model/vocab", json::object()), HasSubstr("model.vocab"));
    EXPECT_THAT(changed("/model/merges", 3), HasSubstr("model.merges"));
    EXPECT_THAT(changed("/added_tokens/0/id", 39), HasSubstr("two tokens have id 39"));
    EXPECT_THAT(changed("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", json::array()}}),
                HasSubstr("Sequence"));
}

class TokenizerFileTest : public tests::FolderTest {};

TEST_F(TokenizerFileTest, Files_that_are_missing_or_no_json_are_refused_by_name) {
    EXPECT_EQ(load_tokenizer(folder_).error().code, ErrorCode::not_found);
    for (const char* text : {"", "[]", "{", "{\"a\":1,\"a\":2}", "{}", "null"}) {
        tests::spill(folder_ / "tokenizer.json", text);
        const auto tokenizer = load_tokenizer(folder_);
        ASSERT_FALSE(tokenizer.ok()) << text;
        EXPECT_THAT(tokenizer.error().message, HasSubstr("tokenizer.json")) << text;
    }
}

TEST_F(TokenizerFileTest, The_end_of_text_is_the_one_that_the_folder_names) {
    json root = gpt2_corner();
    json eot = root["added_tokens"][0];
    eot["id"] = 50257;
    eot["content"] = "<|eot_id|>";
    root["added_tokens"].push_back(eot);
    tests::spill(folder_ / "tokenizer.json", root.dump());
    EXPECT_EQ((*load_tokenizer(folder_))->end_of_text(), 50256);
    tests::spill(folder_ / "tokenizer_config.json", R"({"eos_token": {"content": "<|eot_id|>"}})");
    EXPECT_EQ((*load_tokenizer(folder_))->end_of_text(), 50257);
    tests::spill(folder_ / "tokenizer_config.json", R"({"eos_token": "<|eot_id|>"})");
    EXPECT_EQ((*load_tokenizer(folder_ / "tokenizer.json"))->end_of_text(), 50257);
}

TEST_F(TokenizerFileTest, The_byte_tokenizer_comes_back_as_itself) {
    tests::spill(folder_ / "tokenizer.json", make_byte_tokenizer()->to_json());
    const auto tokenizer = load_tokenizer(folder_);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ((*tokenizer)->vocabulary(), 256);
    EXPECT_EQ((*tokenizer)->end_of_text(), std::nullopt);
    EXPECT_THAT(encode(**tokenizer, "a\xff\n"), ElementsAre('a', 255, '\n'));
}

// Damaged files are refused, or are tokenizers that stay within their vocabulary.
TEST_F(TokenizerFileTest, Random_damage_never_crashes) {
    const std::string whole = gpt2_corner().dump();
    Rng rng(12);
    int accepted = 0;
    for (int i = 0; i < 3000; ++i) {
        const auto tokenizer = tokenizer_from_json(tests::damage(whole, rng), "damaged");
        if (!tokenizer.ok()) continue;
        ++accepted;
        const auto ids = (*tokenizer)->encode("Hello world<|endoftext|>");
        if (!ids.ok()) continue;
        for (const std::int32_t id : *ids) ASSERT_TRUE(id >= 0 && id < (*tokenizer)->vocabulary());
    }
    EXPECT_GT(accepted, 100);
}

}  // namespace

}  // namespace Atoll::model

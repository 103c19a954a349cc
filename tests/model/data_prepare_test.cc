#include "model/data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/data/loader.h"
#include "tests/model/io_files.h"

namespace Atoll::model {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

class PrepareTest : public tests::FolderTest {
  protected:
    PrepareTest() { options_.out = folder_ / "out"; }

    fs::path input(const std::string& name, const std::string& text) {
        tests::spill(folder_ / "in" / name, text);
        return folder_ / "in" / name;
    }
    PrepareReport prepare() {
        auto report = prepare_data(options_);
        EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().message);
        return report.ok() ? *report : PrepareReport{};
    }
    std::string error() {
        auto report = prepare_data(options_);
        EXPECT_FALSE(report.ok());
        return report.ok() ? "" : report.error().message;
    }
    std::vector<std::int32_t> tokens_of(const std::string& shard) {
        auto file = TokenFile::open(options_.out / shard);
        EXPECT_TRUE(file.ok());
        std::vector<std::uint32_t> raw(file->size());
        file->read(0, raw);
        return {raw.begin(), raw.end()};
    }
    std::string text_of(const std::vector<std::string>& shards, const Tokenizer& tokenizer) {
        std::string text;
        for (const auto& shard : shards) text += tokenizer.decode(tokens_of(shard));
        return text;
    }

    PrepareOptions options_;
};

std::string prose(int sentences) {
    Rng rng(1);
    std::string text;
    for (int i = 0; i < sentences; ++i)
        text += "Sentence " + std::to_string(rng.below(1000)) + " of the naïve story.\n";
    return text;
}

TEST_F(PrepareTest, Bytes_of_one_file_become_shards_that_the_loader_reads) {
    const std::string text = prose(30'000);
    options_.inputs = {input("a.txt", text)};
    options_.held_out = 0.05;
    const PrepareReport report = prepare();
    EXPECT_THAT(report.shards, ElementsAre("text_train_000001.bin", "text_val_000000.bin"));
    EXPECT_EQ(report.tokens, text.size());
    EXPECT_EQ(report.train_tokens + report.val_tokens, report.tokens);
    EXPECT_NEAR(static_cast<double>(report.val_tokens) / static_cast<double>(report.tokens), 0.05, 0.002);
    EXPECT_EQ(report.vocabulary, 256);
    const auto loader = Loader::open({.source = options_.out.string()});
    ASSERT_TRUE(loader.ok()) << loader.error().message;
    EXPECT_EQ((*loader)->train_tokens(), report.train_tokens);
    EXPECT_EQ((*loader)->held_out_tokens(), report.val_tokens);
    const auto description = nlohmann::json::parse(tests::slurp(options_.out / "data.json"));
    EXPECT_EQ(description["tokens"], report.tokens);
    EXPECT_EQ(description["vocab_size"], 256);
    EXPECT_EQ((*load_tokenizer(options_.out))->vocabulary(), 256);
}

TEST_F(PrepareTest, No_text_is_lost_or_doubled) {
    const std::string text = prose(5000);
    options_.inputs = {input("a.txt", text)};
    options_.held_out = 0.1;
    options_.shard_tokens = 10'000;
    const PrepareReport report = prepare();
    EXPECT_GT(report.shards.size(), 10U);
    std::string all = text_of(report.shards, *make_byte_tokenizer());
    std::string expected = text;
    std::sort(all.begin(), all.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(all, expected);
}

TEST_F(PrepareTest, Without_held_out_text_the_shards_are_the_text) {
    const std::string text = prose(5000);
    options_.inputs = {input("a.txt", text)};
    options_.held_out = 0;
    options_.shard_tokens = 65'536;
    const PrepareReport report = prepare();
    EXPECT_EQ(text_of(report.shards, *make_byte_tokenizer()), text);
    for (std::size_t i = 0; i + 1 < report.shards.size(); ++i)
        EXPECT_EQ(tokens_of(report.shards[i]).size(), 65'536U);
}

TEST_F(PrepareTest, Documents_begin_with_the_end_of_text) {
    options_.inputs = {input("a.txt", "one one one"), input("b.txt", "one two two")};
    options_.tokenizer = "bpe:259";
    options_.held_out = 0;
    const PrepareReport report = prepare();
    EXPECT_EQ(report.vocabulary, 259);
    const auto tokenizer = load_tokenizer(options_.out);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ(text_of(report.shards, **tokenizer), "<|endoftext|>one one one<|endoftext|>one two two");
}

TEST_F(PrepareTest, A_trained_tokenizer_shortens_the_text_and_can_be_used_again) {
    const std::string text = prose(3000);
    options_.inputs = {input("a.txt", text)};
    options_.tokenizer = "bpe:400";
    const PrepareReport first = prepare();
    EXPECT_LT(first.tokens * 2, text.size());
    options_.tokenizer = options_.out.string();
    options_.out = folder_ / "again";
    const PrepareReport second = prepare();
    EXPECT_EQ(second.tokens, first.tokens);
    EXPECT_EQ(tests::slurp(folder_ / "again" / first.shards[0]),
              tests::slurp(folder_ / "out" / first.shards[0]));
}

TEST_F(PrepareTest, The_same_input_gives_the_same_files) {
    options_.inputs = {input("a.txt", prose(3000))};
    options_.tokenizer = "bpe:500";
    prepare();
    const fs::path first = options_.out;
    options_.out = folder_ / "again";
    for (const auto& shard : prepare().shards)
        EXPECT_EQ(tests::slurp(first / shard), tests::slurp(options_.out / shard));
    EXPECT_EQ(tests::slurp(first / "tokenizer.json"), tests::slurp(options_.out / "tokenizer.json"));
}

TEST_F(PrepareTest, Folders_are_walked_in_order_without_binary_files) {
    input("b/2.txt", "second");
    input("a/1.txt", "first ");
    input("c.bin", std::string("bin\0ary", 7));
    input("empty.txt", "");
    options_.inputs = {folder_ / "in"};
    options_.held_out = 0;
    EXPECT_EQ(text_of(prepare().shards, *make_byte_tokenizer()), "first second");
}

TEST_F(PrepareTest, Progress_reaches_the_end_and_can_stop_without_a_trace) {
    options_.inputs = {input("a.txt", prose(3000))};
    std::uint64_t last = 0;
    std::uint64_t total = 0;
    options_.progress = [&](std::uint64_t bytes, std::uint64_t bytes_total) {
        EXPECT_GE(bytes, last);
        last = bytes;
        total = bytes_total;
        return true;
    };
    prepare();
    EXPECT_EQ(last, fs::file_size(folder_ / "in" / "a.txt"));
    EXPECT_EQ(total, last);
    options_.out = folder_ / "stopped";
    options_.progress = [](std::uint64_t, std::uint64_t) { return false; };
    auto report = prepare_data(options_);
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.error().code, ErrorCode::interrupted);
    EXPECT_TRUE(!fs::exists(options_.out) || fs::is_empty(options_.out));
}

TEST_F(PrepareTest, Bad_input_is_refused_and_leaves_nothing) {
    options_.inputs = {folder_ / "missing.txt"};
    EXPECT_THAT(error(), HasSubstr("missing.txt"));
    options_.inputs = {input("empty.txt", "")};
    EXPECT_THAT(error(), HasSubstr("no text"));
    options_.inputs = {input("a.txt", "some text")};
    for (const char* tokenizer : {"bpe:", "bpe:12x", "bpe:99999999999999999999", "bites"}) {
        options_.tokenizer = tokenizer;
        EXPECT_THAT(error(), HasSubstr(tokenizer));
    }
    options_.tokenizer = "bpe:100";
    EXPECT_THAT(error(), HasSubstr("257"));
    options_.tokenizer = "byte";
    options_.held_out = 1.0;
    EXPECT_THAT(error(), HasSubstr("held_out"));
    options_.held_out = 0.01;
    options_.name = "a/b";
    EXPECT_THAT(error(), HasSubstr("a/b"));
    EXPECT_FALSE(fs::exists(options_.out));
}

TEST_F(PrepareTest, Shards_that_are_there_are_not_mixed_with_new_ones) {
    options_.inputs = {input("a.txt", "some text")};
    prepare();
    EXPECT_THAT(error(), HasSubstr("holds shards already"));
}

}  // namespace

}  // namespace Atoll::model

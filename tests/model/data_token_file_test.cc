#include "model/data/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "tests/model/io_files.h"

namespace Atoll::model {

using ::testing::HasSubstr;

namespace {

class TokenFileTest : public tests::FolderTest {
  protected:
    std::filesystem::path path_ = folder_ / "x_train_000001.bin";

    void write(const std::vector<std::int32_t>& tokens, TokenWidth width) {
        auto writer = TokenFileWriter::create(path_, width);
        ASSERT_TRUE(writer.ok()) << writer.error().message;
        ASSERT_TRUE(writer->append(tokens).ok());
        ASSERT_TRUE(writer->commit().ok());
    }
};

TEST_F(TokenFileTest, The_bytes_are_those_of_llm_c) {
    write({1, 258, 65535}, TokenWidth::bits16);
    const std::string bytes = tests::slurp(path_);
    ASSERT_EQ(bytes.size(), 1024U + 6U);
    const std::string head("\x88\xd8\x34\x01\x01\x00\x00\x00\x03\x00\x00\x00\x00", 13);  // 20240520, 1, 3
    EXPECT_EQ(bytes.substr(0, 13), head);
    EXPECT_EQ(bytes.substr(1024), std::string("\x01\x00\x02\x01\xff\xff", 6));
}

TEST_F(TokenFileTest, Both_widths_come_back) {
    std::vector<std::int32_t> tokens(300'000);
    std::iota(tokens.begin(), tokens.end(), 0);
    write(tokens, TokenWidth::bits32);
    const auto file = TokenFile::open(path_);
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->width(), TokenWidth::bits32);
    ASSERT_EQ(file->size(), tokens.size());
    std::vector<std::uint32_t> read(1000);
    file->read(250'000, read);
    for (std::size_t i = 0; i < read.size(); ++i) ASSERT_EQ(read[i], 250'000 + i);
    std::vector<std::uint32_t> none;
    file->read(tokens.size(), none);
}

TEST_F(TokenFileTest, A_token_that_does_not_fit_is_refused) {
    auto writer = TokenFileWriter::create(path_, TokenWidth::bits16);
    ASSERT_TRUE(writer.ok());
    const std::vector<std::int32_t> large{65536};
    const std::vector<std::int32_t> negative{-1};
    EXPECT_FALSE(writer->append(large).ok());
    EXPECT_FALSE(writer->append(negative).ok());
}

TEST_F(TokenFileTest, Without_commit_there_is_no_file) {
    {
        auto writer = TokenFileWriter::create(path_, TokenWidth::bits16);
        ASSERT_TRUE(writer.ok());
        const std::vector<std::int32_t> tokens{1, 2, 3};
        ASSERT_TRUE(writer->append(tokens).ok());
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(TokenFileTest, Bad_files_are_refused_by_name_and_reason) {
    write({1, 2, 3}, TokenWidth::bits16);
    const std::string whole = tests::slurp(path_);
    const auto error_of = [&](const std::string& bytes) {
        tests::spill(path_, bytes);
        const auto file = TokenFile::open(path_);
        EXPECT_FALSE(file.ok());
        if (file.ok()) return std::string();
        EXPECT_THAT(file.error().message, HasSubstr(path_.string()));
        return file.error().message;
    };
    EXPECT_THAT(error_of(""), HasSubstr("empty"));
    EXPECT_THAT(error_of(whole.substr(0, 1000)), HasSubstr("shorter than the header"));
    EXPECT_THAT(error_of(whole.substr(0, whole.size() - 1)), HasSubstr("3 tokens"));
    EXPECT_THAT(error_of(whole + "x"), HasSubstr("3 tokens"));
    EXPECT_THAT(error_of("X" + whole.substr(1)), HasSubstr("magic"));
    std::string version = whole;
    version[4] = 7;  // Llama-3's version with GPT-2's magic
    EXPECT_THAT(error_of(version), HasSubstr("version 7"));
    std::string negative = whole;
    negative[11] = static_cast<char>(0x80);
    EXPECT_THAT(error_of(negative), HasSubstr("-"));
    EXPECT_EQ(TokenFile::open(folder_ / "missing.bin").error().code, ErrorCode::not_found);
    EXPECT_FALSE(TokenFile::open(folder_).ok());
}

// The header says how long the file is: damage changes a token, or is found.
TEST_F(TokenFileTest, Random_damage_never_crashes) {
    std::vector<std::int32_t> tokens(50);
    std::iota(tokens.begin(), tokens.end(), 100);
    write(tokens, TokenWidth::bits16);
    const std::string whole = tests::slurp(path_);
    Rng rng(3);
    int accepted = 0;
    for (int i = 0; i < 3000; ++i) {
        std::string bytes = tests::damage(whole, rng);
        if (i % 3 == 0) bytes[rng.below(std::min<std::size_t>(bytes.size(), 12))] ^= 1;
        tests::spill(path_, bytes);
        const auto file = TokenFile::open(path_);
        if (!file.ok()) continue;
        ++accepted;
        ASSERT_EQ(bytes.size(), whole.size());
        ASSERT_EQ(bytes.substr(0, 12), whole.substr(0, 12));
        std::vector<std::uint32_t> read(file->size());
        file->read(0, read);
    }
    EXPECT_GT(accepted, 0);
}

}  // namespace

}  // namespace Atoll::model

#include "model/data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "tests/model/io_files.h"

namespace Atoll::model {

using ::testing::HasSubstr;

namespace {

constexpr std::int64_t kSequence = 8;

// Shards whose token at position p of the stream is p, so that every window tells where it came from.
class LoaderTest : public tests::FolderTest {
  protected:
    void write(const std::string& name, std::int32_t first, std::size_t count,
               TokenWidth width = TokenWidth::bits16) {
        std::vector<std::int32_t> tokens(count);
        std::iota(tokens.begin(), tokens.end(), first);
        auto writer = TokenFileWriter::create(folder_ / name, width);
        ASSERT_TRUE(writer.ok()) << writer.error().message;
        ASSERT_TRUE(writer->append(tokens).ok());
        ASSERT_TRUE(writer->commit().ok());
    }
    LoaderOptions options() const {
        return {.source = folder_.string(), .seed = 5, .vocabulary = 65536, .held_out = 0.0};
    }
    static std::unique_ptr<Loader> open(const LoaderOptions& options) {
        auto loader = Loader::open(options);
        EXPECT_TRUE(loader.ok()) << (loader.ok() ? "" : loader.error().message);
        return loader.ok() ? std::move(*loader) : nullptr;
    }
    static TokenBatch shape(std::int64_t batch) {
        return {.batch = batch, .sequence = kSequence, .inputs = {}, .targets = {}};
    }
    // First tokens of the windows of the next batches.
    static std::vector<std::int32_t> starts(Loader& loader, std::size_t windows, std::int64_t batch = 1) {
        std::vector<std::int32_t> result;
        TokenBatch tokens = shape(batch);
        while (result.size() < windows) {
            EXPECT_TRUE(loader.next(tokens).ok());
            for (std::int64_t row = 0; row < batch; ++row)
                result.push_back(tokens.inputs[static_cast<std::size_t>(row * kSequence)]);
        }
        return result;
    }
    std::string error_of(const LoaderOptions& options) {
        auto loader = Loader::open(options);
        EXPECT_FALSE(loader.ok());
        return loader.ok() ? "" : loader.error().message;
    }
};

TEST_F(LoaderTest, Targets_are_the_next_tokens_also_across_shards) {
    write("a_train_000001.bin", 0, 13);
    write("a_train_000002.bin", 13, 1);
    write("a_train_000003.bin", 14, 87);
    auto loader = open(options());
    TokenBatch batch = shape(3);
    std::set<std::int32_t> windows;
    for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(loader->next(batch).ok());
        ASSERT_EQ(batch.inputs.size(), 24U);
        for (std::size_t j = 0; j < batch.inputs.size(); ++j) {
            ASSERT_EQ(batch.targets[j], batch.inputs[j] + 1);
            if (j % kSequence != 0)
                ASSERT_EQ(batch.inputs[j], batch.inputs[j - 1] + 1);
            else
                windows.insert(batch.inputs[j]);
        }
    }
    EXPECT_EQ(windows.size(), 12U);  // 101 tokens hold 12 windows of 8 and their last target
    EXPECT_EQ(*windows.rbegin(), 88);
}

TEST_F(LoaderTest, An_epoch_has_every_window_once_and_the_next_another_order) {
    write("a_train_000001.bin", 0, 801);
    auto loader = open(options());
    const auto first = starts(*loader, 100);
    const auto second = starts(*loader, 100);
    EXPECT_EQ(std::set(first.begin(), first.end()).size(), 100U);
    EXPECT_EQ(std::set(second.begin(), second.end()).size(), 100U);
    EXPECT_NE(first, second);
}

TEST_F(LoaderTest, Seek_continues_with_the_same_batches) {
    write("a_train_000001.bin", 0, 801);
    auto loader = open(options());
    starts(*loader, 60, 4);
    const std::uint64_t position = loader->position();
    EXPECT_EQ(position, 60U);
    const auto expected = starts(*loader, 80, 4);  // over the end of the epoch
    auto resumed = open(options());
    resumed->seek(position);
    EXPECT_EQ(starts(*resumed, 80, 4), expected);
}

TEST_F(LoaderTest, Members_parts_are_disjoint_complete_and_their_own_in_every_epoch) {
    write("a_train_000001.bin", 0, 8 * 103 + 1);
    constexpr std::uint64_t kMembers = 4;
    std::map<std::int32_t, std::uint64_t> owner;
    for (std::uint64_t member = 0; member < kMembers; ++member) {
        LoaderOptions mine = options();
        mine.member_index = member;
        mine.member_count = kMembers;
        auto loader = open(mine);
        const std::size_t part = (103 - member - 1) / kMembers + 1;
        const auto windows = starts(*loader, part);
        for (const std::int32_t start : windows) ASSERT_TRUE(owner.emplace(start, member).second) << start;
        for (const std::int32_t start : starts(*loader, 2 * part)) ASSERT_EQ(owner.at(start), member);
    }
    EXPECT_EQ(owner.size(), 103U);
}

TEST_F(LoaderTest, A_position_stays_valid_when_the_number_of_members_changes) {
    write("a_train_000001.bin", 0, 801);
    LoaderOptions mine = options();
    mine.member_index = 1;
    mine.member_count = 3;
    auto loader = open(mine);
    loader->seek(1'000'000'007);
    EXPECT_EQ(starts(*loader, 10).size(), 10U);
}

TEST_F(LoaderTest, Streams_order_the_same_part_differently) {
    write("a_train_000001.bin", 0, 801);
    LoaderOptions other = options();
    other.stream = 9;
    const auto a = starts(*open(options()), 100);
    const auto b = starts(*open(other), 100);
    EXPECT_NE(a, b);
    EXPECT_EQ(std::set(a.begin(), a.end()), std::set(b.begin(), b.end()));
}

TEST_F(LoaderTest, The_held_out_end_is_never_trained_on) {
    write("a_train_000001.bin", 0, 1000);
    LoaderOptions with = options();
    with.held_out = 0.2;
    auto loader = open(with);
    EXPECT_EQ(loader->train_tokens(), 800U);
    EXPECT_EQ(loader->held_out_tokens(), 200U);
    TokenBatch batch = shape(2);
    for (int i = 0; i < 200; ++i) {
        ASSERT_TRUE(loader->next(batch).ok());
        for (const std::int32_t target : batch.targets) ASSERT_LT(target, 800);
    }
    ASSERT_EQ(loader->held_out_count(2, kSequence), 12U);  // 24 windows
    std::set<std::int32_t> windows;
    for (std::uint64_t i = 0; i < 12; ++i) {
        ASSERT_TRUE(loader->held_out(i, batch).ok());
        for (std::size_t row = 0; row < 2; ++row) windows.insert(batch.inputs[row * kSequence]);
        for (const std::int32_t input : batch.inputs) ASSERT_GE(input, 800);
    }
    EXPECT_EQ(windows.size(), 24U);
}

TEST_F(LoaderTest, Held_out_batches_are_the_same_for_every_member_and_seed) {
    write("a_train_000001.bin", 0, 500);
    write("a_val_000000.bin", 1000, 400);
    LoaderOptions other = options();
    other.seed = 99;
    other.member_index = 2;
    other.member_count = 3;
    auto a = open(options());
    auto b = open(other);
    EXPECT_EQ(a->train_tokens(), 500U);
    EXPECT_EQ(a->held_out_tokens(), 400U);
    TokenBatch x = shape(3);
    TokenBatch y = shape(3);
    ASSERT_TRUE(b->next(y).ok());
    for (std::uint64_t i = 0; i < a->held_out_count(3, kSequence); ++i) {
        ASSERT_TRUE(a->held_out(i, x).ok());
        ASSERT_TRUE(b->held_out(i, y).ok());
        ASSERT_EQ(x.inputs, y.inputs);
        ASSERT_GE(x.inputs[0], 1000);
    }
}

TEST_F(LoaderTest, Sources_are_folders_files_and_patterns) {
    write("a_train_000001.bin", 0, 100);
    write("b_train_000001.bin", 100, 50);
    LoaderOptions one = options();
    one.source = (folder_ / "b_train_000001.bin").string();
    EXPECT_EQ(open(one)->train_tokens(), 50U);
    one.source = (folder_ / "*_train_*.bin").string();
    EXPECT_EQ(open(one)->train_tokens(), 150U);
    EXPECT_EQ(open(options())->train_tokens(), 150U);
}

TEST_F(LoaderTest, Bad_sources_are_refused_before_the_first_batch) {
    EXPECT_THAT(error_of(options()), HasSubstr("no token shard"));
    LoaderOptions missing = options();
    missing.source = (folder_ / "nothing*.bin").string();
    EXPECT_THAT(error_of(missing), HasSubstr("nothing*.bin"));
    write("a_train_000001.bin", 0, 100);
    write("a_train_000002.bin", 0, 100, TokenWidth::bits32);
    EXPECT_THAT(error_of(options()), HasSubstr("different widths"));
    tests::spill(folder_ / "a_train_000002.bin", "not a shard");
    EXPECT_THAT(error_of(options()), HasSubstr("a_train_000002.bin"));
    LoaderOptions fraction = options();
    fraction.held_out = 1.5;
    EXPECT_THAT(error_of(fraction), HasSubstr("data.held_out = 1.5"));
}

TEST_F(LoaderTest, A_token_beyond_the_vocabulary_is_an_error_not_an_index) {
    write("a_train_000001.bin", 0, 801);
    LoaderOptions small = options();
    small.vocabulary = 400;
    auto loader = open(small);
    TokenBatch batch = shape(100);
    const Status status = loader->next(batch);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.error().message, HasSubstr("vocabulary of 400"));
    EXPECT_THAT(status.error().message, HasSubstr("a_train_000001.bin"));
}

TEST_F(LoaderTest, Too_little_data_is_an_error_with_the_numbers) {
    write("a_train_000001.bin", 0, 8);
    auto loader = open(options());
    TokenBatch batch = shape(1);
    const Status status = loader->next(batch);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.error().message, HasSubstr("8 tokens"));
    EXPECT_EQ(loader->held_out_count(1, kSequence), 0U);
}

}  // namespace

}  // namespace Atoll::model

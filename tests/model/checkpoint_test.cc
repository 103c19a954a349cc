#include "model/io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "model/architecture.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/model/io_files.h"

namespace Atoll::model {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

namespace {

ModelConfig small_config() {
    return {.vocabulary = 64,
            .context = 8,
            .layers = 2,
            .heads = 2,
            .kv_heads = 2,
            .width = 32,
            .inner = 64,
            .head_dim = 16};
}

class CheckpointTest : public tests::FolderTest {
  protected:
    CheckpointTest()
        : config_(small_config()),
          layout_(make_layout(config_)),
          parameters_(layout_.size()),
          moments_(layout_.size()) {
        Rng rng(7);
        for (const auto& slot : layout_.slots()) {
            for (std::size_t i = 0; i < slot.size; ++i)
                parameters_[slot.offset + i] = static_cast<float>(rng.normal());
        }
        for (float& value : moments_) value = static_cast<float>(rng.normal());
    }

    CheckpointContent content(std::uint64_t step) {
        return {.step = step,
                .config = config_,
                .layout = layout_,
                .parameters = parameters_,
                .vectors = {{"adamw.m", moments_},
                            {"outer.momentum", std::span(moments_).first(100)},
                            {"empty", {}}},
                .state_json = R"({"round":3,"seed":18446744073709551615,"rate":0.1})"};
    }
    fs::path save(std::uint64_t step, const CheckpointPolicy& policy = {}) {
        auto path = save_checkpoint(folder_, content(step), policy);
        EXPECT_TRUE(path.ok()) << (path.ok() ? "" : path.error().message);
        return path.ok() ? *path : fs::path();
    }
    std::vector<std::uint64_t> steps() {
        std::vector<std::uint64_t> result;
        for (const auto& entry : list_checkpoints(folder_)) result.push_back(entry.step);
        return result;
    }

    ModelConfig config_;
    kernels::Layout layout_;
    std::vector<float> parameters_;
    std::vector<float> moments_;
};

TEST_F(CheckpointTest, Everything_comes_back_bit_for_bit) {
    parameters_[0] = -0.0F;
    parameters_[1] = std::numeric_limits<float>::denorm_min();
    moments_[0] = std::numeric_limits<float>::quiet_NaN();
    const fs::path path = save(500);
    EXPECT_EQ(path.filename(), "step-00000500");
    auto checkpoint = Checkpoint::open(folder_ / "latest");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_EQ(checkpoint->step(), 500U);
    EXPECT_EQ(nlohmann::json::parse(checkpoint->state_json()),
              nlohmann::json::parse(R"({"round":3,"seed":18446744073709551615,"rate":0.1})"));
    EXPECT_EQ(make_layout(checkpoint->config()).signature(), layout_.signature());
    std::vector<float> parameters(layout_.size());
    ASSERT_TRUE(checkpoint->read_parameters(layout_, parameters).ok());
    EXPECT_EQ(std::memcmp(parameters.data(), parameters_.data(), parameters.size() * sizeof(float)), 0);
    std::vector<float> moments(layout_.size());
    ASSERT_TRUE(checkpoint->read_vector("adamw.m", moments).ok());
    EXPECT_EQ(std::memcmp(moments.data(), moments_.data(), moments.size() * sizeof(float)), 0);
    EXPECT_THAT(checkpoint->vector_names(), ::testing::ElementsAre("adamw.m", "empty", "outer.momentum"));
}

TEST_F(CheckpointTest, Absent_and_misfit_vectors_are_reported) {
    auto checkpoint = Checkpoint::open(save(1));
    ASSERT_TRUE(checkpoint.ok());
    std::vector<float> values(layout_.size());
    const Status absent = checkpoint->read_vector("residual/peer", values);
    ASSERT_FALSE(absent.ok());
    EXPECT_EQ(absent.error().code, ErrorCode::not_found);
    EXPECT_THAT(absent.error().message, HasSubstr("residual/peer"));
    EXPECT_THAT(absent.error().message, HasSubstr("outer.momentum"));
    const Status misfit = checkpoint->read_vector("outer.momentum", values);
    ASSERT_FALSE(misfit.ok());
    EXPECT_EQ(misfit.error().code, ErrorCode::corrupt);
    EXPECT_FALSE(checkpoint->has_vector("residual/peer"));
    EXPECT_TRUE(checkpoint->has_vector("empty"));
}

TEST_F(CheckpointTest, Another_shape_of_model_is_refused) {
    auto checkpoint = Checkpoint::open(save(1));
    ASSERT_TRUE(checkpoint.ok());
    ModelConfig other = config_;
    other.layers = 3;
    const auto layout = make_layout(other);
    std::vector<float> values(layout.size());
    const Status status = checkpoint->read_parameters(layout, values);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::invalid);
}

TEST_F(CheckpointTest, Keeps_the_last_ones_and_every_kth) {
    for (std::uint64_t step = 10; step <= 80; step += 10) save(step, {.keep_last = 2, .keep_every = 30});
    EXPECT_EQ(steps(), (std::vector<std::uint64_t>{30, 60, 70, 80}));
    EXPECT_EQ(fs::read_symlink(folder_ / "latest"), "step-00000080");
}

TEST_F(CheckpointTest, Saving_a_step_again_replaces_it) {
    save(5);
    parameters_[0] = 42.0F;
    auto checkpoint = Checkpoint::open(save(5));
    ASSERT_TRUE(checkpoint.ok());
    std::vector<float> parameters(layout_.size());
    ASSERT_TRUE(checkpoint->read_parameters(layout_, parameters).ok());
    EXPECT_EQ(parameters[0], 42.0F);
    EXPECT_EQ(steps(), (std::vector<std::uint64_t>{5}));
}

TEST_F(CheckpointTest, What_a_killed_writer_left_is_ignored_and_removed) {
    save(10);
    fs::create_directories(folder_ / ".tmp-step-00000020-1");
    tests::spill(folder_ / ".tmp-step-00000020-1" / "model.safetensors", "half a file");
    fs::create_directories(folder_ / "step-00000020");
    tests::spill(folder_ / "step-00000020" / "model.safetensors", "no DONE beside it");
    auto checkpoint = open_newest_checkpoint(folder_);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_EQ(checkpoint->step(), 10U);
    const auto incomplete = Checkpoint::open(folder_ / "step-00000020");
    ASSERT_FALSE(incomplete.ok());
    EXPECT_THAT(incomplete.error().message, HasSubstr("not a complete checkpoint"));
    save(30);
    EXPECT_FALSE(fs::exists(folder_ / ".tmp-step-00000020-1"));
    EXPECT_FALSE(fs::exists(folder_ / "step-00000020"));
    EXPECT_EQ(steps(), (std::vector<std::uint64_t>{10, 30}));
}

TEST_F(CheckpointTest, An_empty_or_missing_folder_has_none) {
    const auto empty = open_newest_checkpoint(folder_);
    ASSERT_FALSE(empty.ok());
    EXPECT_EQ(empty.error().code, ErrorCode::not_found);
    EXPECT_EQ(open_newest_checkpoint(folder_ / "missing").error().code, ErrorCode::not_found);
}

TEST_F(CheckpointTest, The_damaged_file_is_named_and_an_older_checkpoint_taken) {
    save(10);
    for (const char* name : {"model.safetensors", "optimizer.safetensors", "config.json", "state.json"}) {
        const fs::path path = save(20);
        std::string bytes = tests::slurp(path / name);
        bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
        tests::spill(path / name, bytes);
        const auto damaged = Checkpoint::open(path);
        ASSERT_FALSE(damaged.ok()) << name;
        EXPECT_EQ(damaged.error().code, ErrorCode::corrupt);
        EXPECT_THAT(damaged.error().message, HasSubstr(name));
        auto older = open_newest_checkpoint(folder_);
        ASSERT_TRUE(older.ok()) << name;
        EXPECT_EQ(older->step(), 10U);
    }
}

TEST_F(CheckpointTest, Any_damage_to_any_file_is_found) {
    const fs::path path = save(1);
    Rng rng(11);
    for (const auto& entry : fs::directory_iterator(path)) {
        const std::string whole = tests::slurp(entry.path());
        for (int i = 0; i < 100; ++i) {
            const std::string bytes = tests::damage(whole, rng);
            if (bytes == whole) continue;
            tests::spill(entry.path(), bytes);
            // DONE may differ behind the hash (its line end), where it says nothing.
            const bool same_hash =
                entry.path().filename() == "DONE" && bytes.substr(0, 64) == whole.substr(0, 64);
            EXPECT_EQ(Checkpoint::open(path).ok(), same_hash) << entry.path() << " mutation " << i;
        }
        tests::spill(entry.path(), whole);
    }
    EXPECT_TRUE(Checkpoint::open(path).ok());
}

TEST_F(CheckpointTest, A_full_disk_leaves_the_old_state) {
    save(10);
    // A limit on file sizes fails writes as a full disk does: with an error in the middle.
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
    const rlimit small{.rlim_cur = 40000, .rlim_max = limit.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto path = save_checkpoint(folder_, content(20), {.keep_last = 1});
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    std::signal(SIGXFSZ, old_handler);
    ASSERT_FALSE(path.ok());
    EXPECT_THAT(path.error().message, HasSubstr("model.safetensors"));
    EXPECT_EQ(steps(), (std::vector<std::uint64_t>{10}));
    EXPECT_EQ(fs::read_symlink(folder_ / "latest"), "step-00000010");
    for (const auto& entry : fs::directory_iterator(folder_)) {
        EXPECT_FALSE(entry.path().filename().string().starts_with(".tmp-")) << entry.path();
    }
    EXPECT_TRUE(open_newest_checkpoint(folder_).ok());
}

TEST_F(CheckpointTest, State_that_is_no_object_is_refused) {
    CheckpointContent bad = content(1);
    bad.state_json = "[1]";
    EXPECT_FALSE(save_checkpoint(folder_, bad, {}).ok());
    EXPECT_TRUE(list_checkpoints(folder_).empty());
}

TEST_F(CheckpointTest, The_tokenizer_travels_with_it) {
    tests::spill(folder_ / "data" / "tokenizer.json", make_byte_tokenizer()->to_json());
    CheckpointContent with = content(1);
    with.tokenizer = folder_ / "data";
    const auto path = save_checkpoint(folder_ / "checkpoints", with, {});
    ASSERT_TRUE(path.ok()) << path.error().message;
    const auto tokenizer = load_tokenizer(*path);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ((*tokenizer)->vocabulary(), 256);
}

}  // namespace

}  // namespace Atoll::model

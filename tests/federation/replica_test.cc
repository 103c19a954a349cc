// DiLoCo with real replicas: as good as data-parallel training at equal tokens, and restartable from its
// checkpoints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "federation/member_state.h"
#include "tests/federation/member_cluster.h"
#include "tests/federation/replica_run.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::OwnedReplica;
using federation::testing::PairLanguage;
using ::testing::HasSubstr;

RunConfig replica_run(std::int64_t inner_steps, std::int64_t rounds) {
    RunConfig config;
    config.model = federation::testing::smallest_model();
    config.run.rounds = rounds;
    config.algorithm.inner_steps = inner_steps;
    config.optimizer.learning_rate = 3e-3;
    config.optimizer.batch_sequences = 32;
    config.schedule.warmup_steps = 20;
    config.averaging.deadline_seconds = 5;
    return config;
}

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

// Held-out loss of the outer parameters, the batch being spread over the members.
double final_loss(RunConfig config, std::size_t members) {
    config.optimizer.batch_sequences /= static_cast<std::int64_t>(members);
    Cluster cluster(config, members, [&](std::size_t i) { return OwnedReplica::make(config, 1 + i); });
    EXPECT_TRUE(cluster.run_all());
    EXPECT_TRUE(cluster[0].status->ok());
    return cluster[0].worker->validation_loss().value();
}

// After `rounds` of 30 steps of 32 sequences.
double diloco_loss(std::size_t members, double outer_rate, std::int64_t rounds) {
    RunConfig config = replica_run(30, rounds);
    config.algorithm.outer_learning_rate = outer_rate;
    return final_loss(config, members);
}

// Charles et al. 2025, tables 4 and 5: the smallest model loses -0.1, 0.7, 2.0 % with 1, 2, 4 replicas.
// Thresholds are ours: 0.5, 2, 4 %. Outer rates are the paper's for so many replicas.
TEST(Replica, Diloco_is_as_good_as_data_parallel_training_at_equal_tokens) {
    constexpr std::int64_t kRounds = 40;
    const auto data_parallel = OwnedReplica::make(replica_run(30, kRounds), 1);
    for (std::int64_t step = 0; step < 30 * kRounds; ++step) ASSERT_TRUE(data_parallel->inner_step().ok());
    const double reference = data_parallel->validation_loss().value();
    EXPECT_LT(reference, 1.06 * PairLanguage::kEntropy);  // it learned the language
    struct Case {
        std::size_t members;
        double outer_rate;
        double loss_ratio_max;
    };
    for (const Case& c : {Case{1, 0.4, 1.005}, Case{2, 0.6, 1.02}, Case{4, 0.6, 1.04}}) {
        const double loss = diloco_loss(c.members, c.outer_rate, kRounds);
        EXPECT_LT(loss, c.loss_ratio_max * reference) << c.members << " members";
        RecordProperty("loss_" + std::to_string(c.members), std::to_string(loss / reference));
    }
}

// Douillard et al. 2025, table 5: fragments, an overlap and four bits lose nothing that shows at these sizes.
// The threshold is ours. Nobody waiting costs a smaller outer rate, and at this length of a run a little
// loss.
TEST(Replica, Streaming_in_four_bits_is_as_good_as_diloco_and_decoupled_nearly_so) {
    RunConfig config = replica_run(30, 20);
    config.algorithm.outer_learning_rate = 0.6;
    config.codec.name = "none";
    config.codec.error_feedback = false;
    const double diloco = final_loss(config, 2);

    RunConfig streaming = config;
    streaming.algorithm.name = "streaming_diloco";
    streaming.algorithm.fragments = 2;
    streaming.codec.name = "e3m0";
    streaming.codec.error_feedback = true;
    const double four_bits = final_loss(streaming, 2);
    EXPECT_LT(four_bits, 1.01 * diloco);
    RecordProperty("streaming", std::to_string(four_bits / diloco));

    RunConfig decoupled = config;
    decoupled.algorithm.name = "decoupled_diloco";
    decoupled.algorithm.fragments = 2;
    const double loss = final_loss(decoupled, 2);
    EXPECT_LT(loss, 1.02 * diloco);
    RecordProperty("decoupled", std::to_string(loss / diloco));
}

struct ReplicaCheckpoint : ::testing::Test {
    std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "atoll_replica_checkpoint";
    ReplicaCheckpoint() { std::filesystem::remove_all(folder); }
    ~ReplicaCheckpoint() override { std::filesystem::remove_all(folder); }

    static OwnedReplica& replica(Cluster& cluster, std::size_t i) {
        return dynamic_cast<OwnedReplica&>(*cluster[i].worker);
    }
    std::filesystem::path member_folder(std::size_t i) const { return folder / std::to_string(i); }
};

struct AlgorithmCheckpoint : ReplicaCheckpoint, ::testing::WithParamInterface<std::string> {};

TEST_P(AlgorithmCheckpoint, Members_stopped_in_mid_round_and_restored_go_on_bit_for_bit) {
    RunConfig config = replica_run(6, 6);
    config.optimizer.batch_sequences = 8;
    config.algorithm.name = GetParam();
    if (GetParam() != "diloco") config.averaging.name = "all_reduce";
    if (GetParam() == "acco") config.algorithm.batches_max = 1;
    if (GetParam() == "distributed_lion") config.optimizer.name = "lion";
    const auto make = [&](std::size_t i) { return OwnedReplica::make(config, 1 + i); };
    Cluster whole(config, 2, make);
    ASSERT_TRUE(whole.run_all());

    Cluster first(config, 2, make);
    for (std::size_t i = 0; i < 2; ++i) {
        first[i].record.at_step = [&, i](std::uint64_t step) {
            if (step == 21) first[i].stop.request();
        };
        first[i].after = [&, i](Session& session) {
            const MemberSave save{member_folder(i), {}, {}, {{"tokens", 7}}};
            ASSERT_TRUE(save_member(save, config, replica(first, i).trainer(), &session.algorithm()).ok());
        };
    }
    ASSERT_TRUE(first.run_all());

    Cluster second(config, 2, make);
    for (std::size_t i = 0; i < 2; ++i) {
        second[i].before = [&, i](Session& session) {
            const auto restored =
                restore_member(member_folder(i), config, replica(second, i).trainer(), &session.algorithm());
            ASSERT_TRUE(restored.ok()) << restored.error().message;
            EXPECT_EQ(restored->step, 21U);
            EXPECT_EQ(restored->round, 3U);
            EXPECT_EQ(restored->counters.at("tokens"), 7U);
        };
    }
    ASSERT_TRUE(second.run_all());
    for (std::size_t i = 0; i < 2; ++i) {
        ASSERT_TRUE(second[i].status->ok()) << second[i].status->error().message;
        EXPECT_EQ(copy(second.parameters(i)), copy(whole.parameters(i)));
        const auto& before = whole[i].record.losses;
        EXPECT_EQ(second[i].record.losses, std::vector<double>(before.begin() + 21, before.end()));
    }
}

INSTANTIATE_TEST_SUITE_P(Algorithms, AlgorithmCheckpoint,
                         ::testing::Values("diloco", "data_parallel", "acco", "distributed_lion"),
                         [](const auto& tested) { return tested.param; });

// Two members begin thirty times too slow and search, each for itself. A trial that was under way at a merge
// would end the program: the search checks it.
TEST_F(ReplicaCheckpoint, Members_search_their_rates_between_merges_and_a_stop_in_a_trial_goes_back) {
    RunConfig config = replica_run(30, 20);
    config.optimizer.learning_rate = 1e-4;
    config.optimizer.batch_sequences = 8;
    const auto make = [&](std::size_t i) { return OwnedReplica::make(config, 1 + i); };
    Cluster fixed(config, 2, make);
    ASSERT_TRUE(fixed.run_all());
    config.schedule.search = "adalrs";
    config.schedule.search_window = 10;
    Cluster searching(config, 2, make);
    std::uint64_t trial_step = 0;
    for (std::size_t i = 0; i < 2; ++i) {
        searching[i].record.at_step = [&, i](std::uint64_t step) {
            if (i == 0 && trial_step == 0 && replica(searching, i).trainer().in_trial()) trial_step = step;
        };
        searching[i].record.at_round = [&, i](const RoundReport&, Algorithm&) {
            EXPECT_FALSE(replica(searching, i).trainer().in_trial());
        };
    }
    ASSERT_TRUE(searching.run_all());
    ASSERT_TRUE(searching[0].status->ok()) << searching[0].status->error().message;
    ASSERT_GT(trial_step, 0U);
    EXPECT_LT(searching[0].worker->validation_loss().value(),
              fixed[0].worker->validation_loss().value() - 0.1);

    Cluster stopped(config, 2, make);
    for (std::size_t i = 0; i < 2; ++i) {
        stopped[i].record.at_step = [&, i](std::uint64_t step) {
            if (step == trial_step + 3) stopped[i].stop.request();
        };
        stopped[i].after = [&, i](Session& session) {
            model::Trainer& trainer = replica(stopped, i).trainer();
            if (i == 0) {
                EXPECT_TRUE(trainer.in_trial());
            }
            ASSERT_TRUE(
                save_member({.folder = member_folder(i)}, config, trainer, &session.algorithm()).ok());
            EXPECT_FALSE(trainer.in_trial());
            if (i == 0) {
                EXPECT_EQ(trainer.step(), trial_step);
            }
        };
    }
    ASSERT_TRUE(stopped.run_all());
    Cluster resumed(config, 2, make);
    for (std::size_t i = 0; i < 2; ++i) {
        resumed[i].before = [&, i](Session& session) {
            ASSERT_TRUE(
                restore_member(member_folder(i), config, replica(resumed, i).trainer(), &session.algorithm())
                    .ok());
        };
    }
    ASSERT_TRUE(resumed.run_all());
    EXPECT_TRUE(resumed[0].status->ok());
    EXPECT_LT(resumed[0].worker->validation_loss().value(), fixed[0].worker->validation_loss().value() - 0.1);
}

TEST_F(ReplicaCheckpoint, Of_another_optimizer_is_refused_with_both_names) {
    RunConfig config = replica_run(6, 6);
    const auto made = OwnedReplica::make(config, 1);
    ASSERT_TRUE(save_member({.folder = folder}, config, made->trainer(), nullptr).ok());
    config.optimizer.name = "lion";
    const auto other = OwnedReplica::make(config, 1);
    const auto restored = restore_member(folder, config, other->trainer(), nullptr);
    ASSERT_FALSE(restored.ok());
    EXPECT_THAT(restored.error().message, HasSubstr("optimizer.name = adamw"));
    EXPECT_THAT(restored.error().message, HasSubstr("optimizer.name = lion"));
}

TEST_F(ReplicaCheckpoint, Of_another_run_or_of_a_lone_replica_is_refused_with_a_reason) {
    RunConfig config = replica_run(6, 6);
    const auto made = OwnedReplica::make(config, 1);
    auto algorithm = make_algorithm("diloco", config, made->layout().size());
    ASSERT_TRUE(algorithm.ok());
    ASSERT_TRUE(save_member({.folder = folder}, config, made->trainer(), algorithm->get()).ok());
    EXPECT_TRUE(restore_member(folder, config, made->trainer(), algorithm->get()).ok());
    EXPECT_TRUE(
        restore_member(folder, config, made->trainer(), nullptr).ok());  // `atoll train` goes on with it
    config.run.seed = 2;
    const auto other = restore_member(folder, config, made->trainer(), algorithm->get());
    ASSERT_FALSE(other.ok());
    EXPECT_EQ(other.error().code, ErrorCode::refused);
    EXPECT_THAT(other.error().message, HasSubstr("--fresh"));

    std::filesystem::remove_all(folder);
    ASSERT_TRUE(save_member({.folder = folder}, config, made->trainer(), nullptr).ok());
    const auto lone = restore_member(folder, config, made->trainer(), algorithm->get());
    ASSERT_FALSE(lone.ok());
    EXPECT_THAT(lone.error().message, HasSubstr("algorithm.anchor"));
}

TEST_F(ReplicaCheckpoint, From_a_run_with_more_members_loads) {
    const RunConfig config = replica_run(6, 6);
    const auto made = OwnedReplica::make(config, 1);
    auto large = make_algorithm("diloco", config, made->layout().size());
    ASSERT_TRUE(large.ok());
    ASSERT_TRUE((*large)->reserve("residual.2"));  // three stages: up to eight members
    (*large)->state().back().values[5] = 0.25F;
    ASSERT_TRUE(save_member({.folder = folder}, config, made->trainer(), large->get()).ok());
    auto fresh = make_algorithm("diloco", config, made->layout().size());
    ASSERT_TRUE(fresh.ok());
    const auto restored = restore_member(folder, config, made->trainer(), fresh->get());
    ASSERT_TRUE(restored.ok()) << restored.error().message;
    ASSERT_EQ((*fresh)->state().size(), (*large)->state().size());
    EXPECT_EQ((*fresh)->state().back().values[5], 0.25F);
}

}  // namespace
}  // namespace Atoll::federation

// Every algorithm of the table keeps these promises, alone and over every averaging scheme.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "federation/algorithm/algorithm.h"
#include "federation/shared_state.h"
#include "tests/contracts/suited_run.h"
#include "tests/federation/member_cluster.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::distance;
using federation::testing::QuadraticWorker;
using federation::testing::sparse;
using federation::testing::suit_sparse_codec;
using federation::testing::suited;
using ::testing::HasSubstr;

class AlgorithmContract : public ::testing::TestWithParam<AlgorithmEntry> {
  protected:
    static RunConfig config() {
        RunConfig config = federation::testing::small_run();
        config.algorithm.name = std::string(GetParam().name);
        config = suited(config);
        if (GetParam().synchronous) config.topology.name = "full";
        return config;
    }
    static Cluster::MakeWorker noisy(double noise = 0.1) {
        return [noise](std::size_t i) { return worker({.noise = noise, .noise_seed = 10 + i}); };
    }
    static void check_completes(const RunConfig& run) {
        Cluster cluster(run, 4, noisy());
        ASSERT_TRUE(cluster.run_all());
        // A robust scheme gives up the exact mean: members stay further apart.
        const auto scheme =
            std::ranges::find(gossip::averagings(), run.averaging.name, &gossip::AveragingEntry::name);
        const double left = scheme->robust ? 0.8 : 0.7;
        for (std::size_t m = 0; m < 4; ++m) {
            ASSERT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
            EXPECT_TRUE(cluster[m].record.rounds.back().average.complete);
            EXPECT_LT(cluster[m].record.losses.back(), left * cluster[m].record.losses.front());
        }
    }
    static std::unique_ptr<QuadraticWorker> worker(QuadraticWorker::Options options) {
        return federation::testing::suited_worker(config(), options);
    }
    static std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }
};

TEST_P(AlgorithmContract, Members_with_equal_data_do_what_one_member_does) {
    // Where nobody waits, a member goes on before it has what the others did.
    if (!GetParam().synchronous) return;
    const auto same = [](std::size_t) { return worker({.noise = 0.3}); };
    RunConfig run = config();
    // The local steps of focus are the shorter the more clients there are; the first is never a step.
    if (run.algorithm.name == "focus") run.algorithm.inner_steps = 1;
    // What nobody is there to receive is not compressed: a lone member stands for itself only where
    // compression loses nothing.
    Cluster one(run, sparse(run.codec.name) ? 2 : 1, same);
    Cluster four(run, 4, same);
    ASSERT_TRUE(one.run_all());
    ASSERT_TRUE(four.run_all());
    // Members of fedkseed look in directions of their own choice: they equal each other, not one member
    // alone.
    const std::vector<float> expected =
        copy(GetParam().name == "fedkseed" ? four.parameters(0) : one.parameters(0));
    for (std::size_t m = 0; m < 4; ++m) {
        for (std::size_t i = 0; i < 64; ++i) EXPECT_NEAR(four.parameters(m)[i], expected[i], 1e-5);
    }
}

TEST_P(AlgorithmContract, Comes_close_to_the_minimum) {
    RunConfig long_run = config();
    long_run.run.rounds = 300 / long_run.algorithm.inner_steps;
    // One direction a step, of 64.
    if (GetParam().name == "fedkseed") long_run.algorithm.inner_steps *= 64;
    Cluster cluster(long_run, 3, noisy(0.01));
    ASSERT_TRUE(cluster.run_all());
    const auto& worker = dynamic_cast<QuadraticWorker&>(*cluster[0].worker);
    const double start = distance(std::vector<float>(64), worker.minimum());
    EXPECT_LT(distance(cluster.parameters(0).first(64), worker.minimum()), 0.05 * start);
}

TEST_P(AlgorithmContract, Same_seed_gives_the_same_bits) {
    Cluster a(config(), 3, noisy());
    Cluster b(config(), 3, noisy());
    ASSERT_TRUE(a.run_all());
    ASSERT_TRUE(b.run_all());
    for (std::size_t m = 0; m < 3; ++m) EXPECT_EQ(copy(a.parameters(m)), copy(b.parameters(m)));
}

TEST_P(AlgorithmContract, Reports_every_step_and_every_round) {
    Cluster cluster(config(), 2, noisy());
    ASSERT_TRUE(cluster.run_all());
    const auto& record = cluster[0].record;
    ASSERT_EQ(record.rounds.size(), GetParam().make(config(), 64)->rounds());
    EXPECT_EQ(record.losses.size(), 40U);
    std::uint64_t step = 0;
    for (std::size_t r = 0; r < record.rounds.size(); ++r) {
        const RoundReport& report = record.rounds[r];
        EXPECT_EQ(report.round, r + 1);
        EXPECT_EQ(report.steps, report.step - step);
        // One batch a step, or one more for each exchange that it overlaps with.
        EXPECT_GE(report.tokens, report.steps);
        if (config().algorithm.batches_max == 0) {
            EXPECT_EQ(report.tokens, report.steps);
        }
        EXPECT_NEAR(report.compute_seconds, 0.01 * static_cast<double>(report.tokens), 1e-9);
        EXPECT_GT(report.update_norm, 0);
        EXPECT_TRUE(report.average.complete);
        EXPECT_EQ(report.average.members, 2U);
        step = report.step;
    }
    EXPECT_EQ(step, 40U);
}

TEST_P(AlgorithmContract, A_member_killed_in_any_round_leaves_the_others_with_a_reason) {
    // Where the algorithm takes the steps itself the exchange of the last one is over when it is told.
    const std::uint64_t last = GetParam().steps_itself ? 39 : 40;
    for (std::uint64_t step = 1; step <= last; step += 3) {
        Cluster cluster(config(), 3, noisy());
        cluster[1].record.at_step = [&](std::uint64_t at) {
            if (at != step) return;
            cluster.network().kill(1);
            cluster.network().at(cluster.network().now() + 1,
                                 [&] { cluster.network().announce_members("1 is gone"); });
        };
        ASSERT_TRUE(cluster.run_all());
        std::string reasons;
        for (const std::size_t m : {0UL, 2UL}) {
            ASSERT_TRUE(cluster[m].status && cluster[m].status->ok());
            EXPECT_EQ(cluster[m].worker->step(), 40U);
            for (const auto& report : cluster[m].record.rounds) {
                for (const auto& reason : report.average.reasons) reasons += reason + "\n";
            }
        }
        EXPECT_THAT(reasons, HasSubstr(cluster.network().id(1).short_name())) << "killed after step " << step;
    }
}

TEST_P(AlgorithmContract, Everybody_gone_leaves_one_who_finishes_alone) {
    Cluster cluster(config(), 3, noisy());
    cluster.network().at(0.07, [&] {
        cluster.network().kill(1);
        cluster.network().kill(2);
        cluster.network().announce_members("all others are gone");
    });
    ASSERT_TRUE(cluster.run_all());
    ASSERT_TRUE(cluster[0].status && cluster[0].status->ok());
    EXPECT_EQ(cluster[0].record.rounds.size(), GetParam().make(config(), 64)->rounds());
}

TEST_P(AlgorithmContract, State_names_are_unique_and_room_is_made_for_each) {
    auto algorithm = GetParam().make(config(), 64);
    std::set<std::string> names;
    for (const auto& vector : algorithm->state()) {
        EXPECT_TRUE(names.insert(vector.name).second) << vector.name;
        EXPECT_TRUE(algorithm->reserve(vector.name)) << vector.name;
    }
    EXPECT_FALSE(algorithm->reserve("no such vector"));
    // A server tells its clients where the run stands: nobody fetches a state from them.
    EXPECT_TRUE(GetParam().served || shared_state_bytes(*algorithm) > 64);
}

// Every scheme with every topology and with every codec: not each with each of the others, which the contract
// of the averaging schemes does.
TEST_P(AlgorithmContract, Every_averaging_scheme_topology_and_codec_completes_a_run) {
    bool ran = false;
    for (std::size_t a = 0; a < gossip::averagings().size(); ++a) {
        std::set<std::string> met;
        for (std::size_t shift = 0; shift < gossip::codecs().size(); ++shift) {
            for (std::size_t t = 0; t < gossip::topologies().size(); ++t) {
                const auto& topology = gossip::topologies()[t];
                const auto& codec = gossip::codecs()[(a + t + shift) % gossip::codecs().size()];
                RunConfig run = config();
                run.averaging.name = std::string(gossip::averagings()[a].name);
                run.topology.name = std::string(topology.name);
                run.topology.degree = std::max<std::int64_t>(topology.degree_min, 1);
                run.codec.name = std::string(codec.name);
                run.codec.error_feedback = true;
                if (codec.sparse) suit_sparse_codec(run);
                if (met.contains(run.topology.name) && met.contains(run.codec.name)) continue;
                if (!validate(run).ok()) continue;  // refused at start
                met.insert({run.topology.name, run.codec.name});
                SCOPED_TRACE(run.averaging.name + " " + run.topology.name + " " + run.codec.name);
                check_completes(run);
            }
        }
        ran = ran || !met.empty();
        EXPECT_TRUE(met.empty() || !GetParam().served || gossip::averagings()[a].name == "star");
        if (!met.empty() || !GetParam().synchronous) continue;  // where nobody waits there is none to choose
        RunConfig run = config();
        run.averaging.name = std::string(gossip::averagings()[a].name);
        const Status refused = validate(run);
        ASSERT_FALSE(refused.ok()) << run.averaging.name;
        EXPECT_THAT(refused.error().message, HasSubstr("averaging.name")) << "it says that it cannot";
    }
    EXPECT_TRUE(ran || !GetParam().synchronous);
}

INSTANTIATE_TEST_SUITE_P(Table, AlgorithmContract,
                         ::testing::ValuesIn(algorithms().begin(), algorithms().end()),
                         [](const auto& entry) { return std::string(entry.param.name); });

}  // namespace
}  // namespace Atoll::federation

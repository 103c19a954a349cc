// Tuning by seeds and scalars: what a round costs, that the numbers are the model, and that replicas stay
// equal to the bit whatever the network does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "federation/member_state.h"
#include "federation/shared_state.h"
#include "kernels/reference.h"
#include "model/optim/spsa.h"
#include "tests/federation/member_cluster.h"
#include "tests/federation/replica_run.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::distance;
using federation::testing::OwnedReplica;
using federation::testing::QuadraticWorker;
using federation::testing::Record;
using federation::testing::small_run;
using ::testing::HasSubstr;

RunConfig tuning_run(const std::string& algorithm, std::int64_t inner_steps = 5, std::int64_t rounds = 8) {
    RunConfig config = small_run();
    config.algorithm.name = algorithm;
    config.algorithm.inner_steps = inner_steps;
    config.run.rounds = rounds;
    config.averaging.name = "all_reduce";
    config.optimizer.name = "mezo";
    config.optimizer.weight_decay = 0;
    config.optimizer.learning_rate = 0.01;
    config.optimizer.clip_norm = 100;
    config.schedule.name = "constant";
    if (algorithm == "fedkseed") config.algorithm.candidate_seeds = 256;
    return config;
}

Cluster::MakeWorker noisy(std::size_t parameters = 64) {
    return [parameters](std::size_t i) {
        return std::make_unique<QuadraticWorker>(
            QuadraticWorker::Options{.parameters = parameters, .noise = 0.1, .noise_seed = 10 + i});
    };
}

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

void expect_equal_replicas(Cluster& cluster, const std::vector<std::size_t>& members) {
    for (const std::size_t m : members) {
        ASSERT_TRUE(cluster[m].status.has_value()) << m;
        ASSERT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
        EXPECT_EQ(copy(cluster.parameters(m)), copy(cluster.parameters(members.front()))) << "member " << m;
    }
}

class ScalarTuningTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ScalarTuningTest, Replicas_are_equal_to_the_bit) {
    Cluster cluster(tuning_run(GetParam()), 4, noisy());
    ASSERT_TRUE(cluster.run_all());
    expect_equal_replicas(cluster, {0, 1, 2, 3});
}

// Bodies and payloads of everything a member sends, for a model of 64 and of 65536 parameters.
TEST_P(ScalarTuningTest, A_round_costs_bytes_whatever_the_size_of_the_model) {
    std::vector<std::uint64_t> payload, sent;
    for (const std::size_t parameters : {64U, 65536U}) {
        RunConfig config = tuning_run(GetParam(), 2, 4);
        if (config.algorithm.name == "fedkseed") config.algorithm.candidate_seeds = 16;
        Cluster cluster(config, 2, [&](std::size_t i) {
            return std::make_unique<QuadraticWorker>(
                QuadraticWorker::Options{.parameters = parameters, .noise_seed = i});
        });
        ASSERT_TRUE(cluster.run_all());
        payload.push_back(0);
        for (const auto& round : cluster[0].record.rounds) payload.back() += round.average.bytes_sent;
        sent.push_back(cluster.network().host(0).traffic().bytes_sent);
    }
    // Two members each own half of the numbers: a half as contribution, the other as result.
    const std::uint64_t numbers = std::string(GetParam()) == "fedkseed" ? 16 : 2;
    EXPECT_EQ(payload[0], 4 * 4 * (numbers + 2));
    EXPECT_EQ(payload[1], payload[0]);
    EXPECT_EQ(sent[1], sent[0]);
    EXPECT_LT(sent[0], 4U * 4096U);
}

TEST_P(ScalarTuningTest, A_joiner_rebuilds_the_model_from_the_numbers) {
    const RunConfig config = tuning_run(GetParam(), 5, 30);
    Cluster cluster(config, 3, noisy());
    cluster[2].mode = JoinMode::late;
    std::uint64_t state_bytes = 0;
    cluster.network().set_hook([&](const fakes::MemoryNetwork::Departure& departure) {
        if (std::holds_alternative<gossip::StateChunk>(departure.body))
            state_bytes += departure.payload_bytes;
        return fakes::MemoryNetwork::Fate{0};
    });
    cluster.start(0);
    cluster.start(1);
    cluster.network().announce_members_to(0, {0, 1}, "start");
    cluster.network().announce_members_to(1, {0, 1}, "start");
    cluster.network().at(0.62, [&] {
        cluster.start(2);
        cluster.network().announce_members("member 2 joined");
    });
    ASSERT_TRUE(cluster.network().run());
    expect_equal_replicas(cluster, {0, 1, 2});
    EXPECT_GT(cluster[2].record.rounds.front().round, 5U);
    EXPECT_EQ(cluster[0].record.rounds.back().average.members, 3U);
    // The numbers are all that was fetched, once for each state that was new to it.
    const std::uint64_t numbers = std::string(GetParam()) == "fedkseed" ? 256 : 30 * 5;
    EXPECT_GT(state_bytes, 0U);
    EXPECT_EQ(state_bytes % (64 + 64 + 4 * numbers), 0U);
}

TEST_P(ScalarTuningTest, Messages_that_are_lost_leave_replicas_equal) {
    Cluster cluster(tuning_run(GetParam()), 4, noisy());
    Rng dice(3);
    cluster.network().set_hook([&](const fakes::MemoryNetwork::Departure&) {
        return dice.uniform() < 0.3 ? fakes::MemoryNetwork::Fate{} : fakes::MemoryNetwork::Fate{0};
    });
    ASSERT_TRUE(cluster.run_all());
    expect_equal_replicas(cluster, {0, 1, 2, 3});
    EXPECT_EQ(cluster[3].worker->step(), 40U);
}

TEST_P(ScalarTuningTest, A_member_killed_at_any_time_leaves_the_others_equal) {
    for (double when = 0.0105; when < 0.45; when += 0.0313) {
        for (const std::size_t victim : {0UL, 2UL}) {
            Cluster cluster(tuning_run(GetParam()), 4, noisy());
            cluster.network().at(when, [&] { cluster.network().kill(victim); });
            cluster.network().at(when + 0.7, [&] { cluster.network().announce_members("one is gone"); });
            ASSERT_TRUE(cluster.run_all());
            expect_equal_replicas(
                cluster, victim == 0 ? std::vector<std::size_t>{1, 2, 3} : std::vector<std::size_t>{0, 1, 3});
        }
    }
}

// Two halves that do not see each other go on alone; together again, all take the numbers of one.
TEST_P(ScalarTuningTest, Halves_of_a_divided_network_become_one_model_again) {
    Cluster cluster(tuning_run(GetParam(), 5, 40), 4, noisy());
    auto& network = cluster.network();
    network.set_hook([&](const fakes::MemoryNetwork::Departure& departure) {
        const bool divided = departure.time > 0.31 && departure.time < 1.5;
        const bool across = (departure.from < 2) != (departure.to < 2);
        return divided && across ? fakes::MemoryNetwork::Fate{} : fakes::MemoryNetwork::Fate{0};
    });
    network.at(0.4, [&] {
        for (const std::size_t m : {0UL, 1UL}) network.announce_members_to(m, {0, 1}, "2 and 3 are silent");
        for (const std::size_t m : {2UL, 3UL}) network.announce_members_to(m, {2, 3}, "0 and 1 are silent");
    });
    network.at(1.55, [&] { network.announce_members("all are back"); });
    ASSERT_TRUE(cluster.run_all());
    expect_equal_replicas(cluster, {0, 1, 2, 3});
    std::string reasons;
    for (const auto& report : cluster[0].record.rounds) {
        for (const auto& reason : report.average.reasons) reasons += reason + "\n";
    }
    EXPECT_THAT(reasons, HasSubstr("earlier rounds differ"));
    EXPECT_EQ(cluster[0].record.rounds.back().average.members, 4U);
    EXPECT_TRUE(cluster[0].record.rounds.back().average.complete);
}

TEST_P(ScalarTuningTest, A_member_that_began_elsewhere_is_told_and_does_no_harm) {
    Cluster cluster(tuning_run(GetParam()), 3, noisy());
    cluster[1].worker->parameters()[7] = 0.5F;
    cluster[1].after = [&](Session&) {
        cluster.network().kill(1);
        cluster.network().announce_members("1 has left");
    };
    ASSERT_TRUE(cluster.run_all());
    expect_equal_replicas(cluster, {0, 2});
    EXPECT_EQ(cluster[0].record.rounds.size(), 8U);
    ASSERT_FALSE(cluster[1].status->ok());
    EXPECT_EQ(cluster[1].status->error().code, ErrorCode::refused);
    EXPECT_THAT(cluster[1].status->error().message, HasSubstr("other parameters"));
}

TEST_P(ScalarTuningTest, Members_stopped_in_mid_round_and_restored_go_on_bit_for_bit) {
    RunConfig config = tuning_run(GetParam(), 6, 4);
    config.model = federation::testing::smallest_model();
    config.optimizer.batch_sequences = 2;
    config.optimizer.clip_norm = 1;
    const auto folder = std::filesystem::path(::testing::TempDir()) / "atoll_scalar_tuning";
    std::filesystem::remove_all(folder);
    const auto make = [&](std::size_t i) { return OwnedReplica::make(config, 1 + i); };
    const auto trainer = [](Cluster& cluster, std::size_t i) -> model::Trainer& {
        return dynamic_cast<OwnedReplica&>(*cluster[i].worker).trainer();
    };
    const auto path = [&](std::size_t i) { return folder / std::to_string(i); };
    Cluster whole(config, 2, make);
    ASSERT_TRUE(whole.run_all());
    Cluster first(config, 2, make), second(config, 2, make);
    for (std::size_t i = 0; i < 2; ++i) {
        first[i].record.at_step = [&, i](std::uint64_t step) {
            if (step == 15) first[i].stop.request();
        };
        first[i].after = [&, i](Session& session) {
            ASSERT_TRUE(
                save_member({.folder = path(i)}, config, trainer(first, i), &session.algorithm()).ok());
        };
        second[i].before = [&, i](Session& session) {
            const auto restored = restore_member(path(i), config, trainer(second, i), &session.algorithm());
            ASSERT_TRUE(restored.ok()) << restored.error().message;
            EXPECT_EQ(restored->step, 15U);
        };
    }
    ASSERT_TRUE(first.run_all());
    ASSERT_TRUE(second.run_all());
    expect_equal_replicas(second, {0, 1});
    EXPECT_EQ(copy(second.parameters(0)), copy(whole.parameters(0)));
    std::filesystem::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Algorithms, ScalarTuningTest, ::testing::Values("decomfl", "fedkseed"),
                         [](const auto& name) { return std::string(name.param); });

TEST(Decomfl, Members_with_equal_data_do_what_mezo_does_alone) {
    RunConfig config = tuning_run("decomfl", 1, 40);
    config.model = federation::testing::smallest_model();
    config.optimizer.batch_sequences = 2;
    config.optimizer.clip_norm = 1;
    config.optimizer.learning_rate = 1e-3;
    Cluster cluster(config, 3, [&](std::size_t) { return OwnedReplica::make(config, 7); });
    ASSERT_TRUE(cluster.run_all());
    const auto alone = OwnedReplica::make(config, 7);
    const std::vector<float> start = copy(alone->parameters());
    for (int step = 0; step < 40; ++step) ASSERT_TRUE(alone->inner_step().ok());
    const double moved = distance(start, alone->parameters());
    EXPECT_GT(moved, 0.1);
    EXPECT_LT(distance(cluster.parameters(0), alone->parameters()), 0.01 * moved);
}

// The parameters after a run against the same in double, from the log and the directions of the reference.
TEST(Decomfl, The_log_is_the_model) {
    RunConfig config = tuning_run("decomfl", 3, 6);
    config.algorithm.perturbations = 2;
    Cluster cluster(config, 2, noisy());
    std::vector<float> log;
    cluster[0].after = [&](Session& session) { log = copy(session.algorithm().state().front().values); };
    ASSERT_TRUE(cluster.run_all());
    ASSERT_EQ(log.size(), 6U * 3U * 2U);
    std::vector<double> x(64);
    for (std::uint64_t step = 0; step < 18; ++step) {
        for (std::uint64_t p = 0; p < 2; ++p) {
            const std::uint64_t seed = model::direction_seed(1, step + 1, p);
            for (std::size_t i = 0; i < 64; ++i)
                x[i] -=
                    0.01 / 2 * static_cast<double>(log[2 * step + p]) * kernels::reference::normal(seed, i);
        }
    }
    for (std::size_t i = 0; i < 64; ++i) EXPECT_NEAR(cluster.parameters(0)[i], x[i], 1e-5);
}

TEST(Decomfl, A_joiner_replays_hundreds_of_rounds) {
    Cluster cluster(tuning_run("decomfl", 1, 600), 2, noisy());
    cluster[1].mode = JoinMode::late;
    cluster.start(0);
    cluster.network().announce_members_to(0, {0}, "start");
    cluster.network().at(4, [&] {
        cluster.start(1);
        cluster.network().announce_members("member 1 joined");
    });
    ASSERT_TRUE(cluster.network().run());
    expect_equal_replicas(cluster, {0, 1});
    EXPECT_GT(cluster[1].record.rounds.front().round, 300U);
}

// In the first round the rebuilt model is the mean of the members' own (Qin et al. 2024, section 4).
TEST(Fedkseed, The_rebuilt_model_is_the_mean_of_the_members_models) {
    Cluster cluster(tuning_run("fedkseed", 20, 1), 3, noisy());
    std::vector<double> mean(64);
    for (std::size_t m = 0; m < 3; ++m) {
        cluster[m].record.at_step = [&, m](std::uint64_t step) {
            if (step != 20) return;
            for (std::size_t i = 0; i < 64; ++i) mean[i] += cluster.parameters(m)[i] / 3.0;
        };
    }
    ASSERT_TRUE(cluster.run_all());
    for (std::size_t i = 0; i < 64; ++i) EXPECT_NEAR(cluster.parameters(0)[i], mean[i], 1e-5);
}

TEST(Fedkseed, Its_state_is_the_same_size_however_long_the_run) {
    for (const std::int64_t rounds : {1, 1000}) {
        const auto algorithm = make_algorithm("fedkseed", tuning_run("fedkseed", 5, rounds), 64).value();
        EXPECT_EQ(shared_state_bytes(*algorithm), 64U + 64U + 4U * 256U);
    }
}

TEST(ScalarTuningChecks, Name_both_keys_of_a_contradiction) {
    const auto message = [](const RunConfig& config) {
        const Status status = validate(config);
        return status.ok() ? std::string() : status.error().message;
    };
    for (const char* name : {"decomfl", "fedkseed"}) {
        const RunConfig good = tuning_run(name);
        ASSERT_EQ(message(good), "");
        const auto with = [&](const auto& change) {
            RunConfig config = good;
            change(config);
            return message(config);
        };
        EXPECT_THAT(with([](RunConfig& c) { c.optimizer.name = "adamw"; }),
                    ::testing::AllOf(HasSubstr(name), HasSubstr("optimizer.name = adamw")));
        EXPECT_THAT(with([](RunConfig& c) { c.averaging.name = "push_sum"; }),
                    ::testing::AllOf(HasSubstr(name), HasSubstr("averaging.name = push_sum")));
        EXPECT_THAT(with([](RunConfig& c) { c.codec.name = "int8_block"; }),
                    HasSubstr("codec.name = int8_block"));
        EXPECT_THAT(with([](RunConfig& c) { c.optimizer.clip_norm = 0; }), HasSubstr("optimizer.clip_norm"));
        EXPECT_THAT(with([](RunConfig& c) { c.optimizer.weight_decay = 0.1; }),
                    HasSubstr("optimizer.weight_decay = 0.1"));
        EXPECT_THAT(with([](RunConfig& c) { c.algorithm.outer_momentum = 0.5; }),
                    HasSubstr("algorithm.outer_"));
    }
    RunConfig config = tuning_run("fedkseed");
    config.schedule.name = "cosine";
    EXPECT_THAT(message(config),
                ::testing::AllOf(HasSubstr("fedkseed"), HasSubstr("schedule.name = cosine")));
    config = tuning_run("decomfl");
    config.algorithm.candidate_seeds = 12;
    EXPECT_THAT(message(config), HasSubstr("algorithm.candidate_seeds = 12"));
    config = tuning_run("fedkseed");
    config.algorithm.perturbations = 2;
    EXPECT_THAT(message(config), HasSubstr("algorithm.perturbations = 2"));
    config = tuning_run("decomfl", 1000000, 1000000);
    EXPECT_THAT(message(config), ::testing::AllOf(HasSubstr("run.rounds"), HasSubstr("fedkseed")));
    config = small_run();
    config.optimizer.perturbation = 0.5;
    EXPECT_THAT(message(config), HasSubstr("optimizer.perturbation = 0.5"));
    config.optimizer.name = "mezo";
    config.optimizer.projection_rate = 1;
    EXPECT_THAT(message(config),
                ::testing::AllOf(HasSubstr("optimizer.projection_rate = 1"), HasSubstr("choose dizo")));
    config.optimizer.projection_rate = 2;
    config.optimizer.z_loss = 0.1;
    EXPECT_THAT(message(config), HasSubstr("optimizer.z_loss = 0.1"));
}

// Another member's slopes are larger by any factor, and it is heard all the same; what no slope can be is
// not.
TEST(ScalarTuningExchange, A_huge_number_is_refused_but_unequal_slopes_are_not) {
    Cluster cluster(tuning_run("decomfl", 1, 6), 3, [](std::size_t i) {
        return std::make_unique<QuadraticWorker>(
            QuadraticWorker::Options{.noise = i == 1 ? 100.0 : 1e-4, .noise_seed = i});
    });
    ASSERT_TRUE(cluster.run_all());
    expect_equal_replicas(cluster, {0, 1, 2});
    for (const auto& report : cluster[0].record.rounds) EXPECT_TRUE(report.average.complete);
}

}  // namespace
}  // namespace Atoll::federation

// DiLoCo against its closed forms and invariants, on a quadratic and in virtual time.
#include "federation/algorithm/diloco.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "federation/shared_state.h"
#include "tests/federation/member_cluster.h"
#include "tests/federation/saved_member.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::copy;
using federation::testing::distance;
using federation::testing::QuadraticWorker;
using federation::testing::SavedMember;
using federation::testing::small_run;
using ::testing::Each;
using ::testing::HasSubstr;

RunConfig sgd_run(double rate) {
    RunConfig config = small_run();
    config.algorithm.outer_optimizer = "sgd";
    config.algorithm.outer_learning_rate = rate;
    config.algorithm.outer_momentum = 0;
    return config;
}

Cluster::MakeWorker noisy(double noise = 0.5) {
    return [noise](std::size_t i) {
        return std::make_unique<QuadraticWorker>(
            QuadraticWorker::Options{.noise = noise, .noise_seed = 100 + i});
    };
}

TEST(Diloco, One_member_one_inner_step_and_outer_sgd_of_rate_one_is_sgd) {
    RunConfig config = sgd_run(1);
    config.run.rounds = 40;
    config.algorithm.inner_steps = 1;
    Cluster cluster(config, 1, noisy());
    ASSERT_TRUE(cluster.run_all());
    ASSERT_TRUE(cluster[0].status->ok());

    auto alone = noisy()(0);
    for (int i = 0; i < 40; ++i) ASSERT_TRUE(alone->inner_step().ok());
    // Theta - (Theta - theta) = theta in exact arithmetic; a subtraction and its undoing round once in fp32.
    for (std::size_t i = 0; i < 64; ++i) {
        EXPECT_NEAR(cluster.parameters(0)[i], alone->parameters()[i], 1e-6) << i;
    }
}

// The same in numbers for which every subtraction is exact: equality holds to the bit.
TEST(Diloco, One_member_equals_sgd_exactly_where_fp32_does_not_round) {
    class Counting : public QuadraticWorker {
      public:
        using QuadraticWorker::QuadraticWorker;
        Result<StepResult> inner_step() override {
            for (float& x : parameters()) x += 0.125F;
            set_step(step() + 1);
            return StepResult{.tokens = 1};
        }
    };
    RunConfig config = sgd_run(1);
    config.algorithm.inner_steps = 1;
    config.run.rounds = 100;
    Cluster cluster(config, 1,
                    [](std::size_t) { return std::make_unique<Counting>(QuadraticWorker::Options{}); });
    ASSERT_TRUE(cluster.run_all());
    EXPECT_THAT(copy(cluster.parameters(0).first(64)), Each(12.5F));
}

TEST(Diloco, Members_with_one_inner_step_equal_one_member_with_their_batches_together) {
    RunConfig config = sgd_run(1);
    config.run.rounds = 20;
    config.algorithm.inner_steps = 1;
    for (const std::size_t members : {2UL, 4UL}) {
        Cluster cluster(config, members, noisy());
        ASSERT_TRUE(cluster.run_all());
        QuadraticWorker together({.noise = 0.5, .noise_seed = 100, .batch = members});
        for (int i = 0; i < 20; ++i) ASSERT_TRUE(together.inner_step().ok());
        for (std::size_t m = 0; m < members; ++m) {
            for (std::size_t i = 0; i < 64; ++i) {
                EXPECT_NEAR(cluster.parameters(m)[i], together.parameters()[i], 1e-6)
                    << members << " members";
            }
        }
    }
}

TEST(Diloco, After_a_full_exchange_all_replicas_have_the_same_bits) {
    for (const char* codec : {"none", "int8_block"}) {
        RunConfig config = small_run();
        config.topology.name = "full";
        config.codec.name = codec;
        config.codec.error_feedback = true;
        Cluster cluster(config, 3, noisy());
        ASSERT_TRUE(cluster.run_all());
        for (std::size_t m = 1; m < 3; ++m) {
            EXPECT_EQ(copy(cluster.parameters(m)), copy(cluster.parameters(0))) << codec;
        }
        EXPECT_TRUE(cluster[0].record.rounds.back().average.complete);
    }
}

TEST(Diloco, After_gossip_with_int8_replicas_stay_within_the_quantisation_step) {
    RunConfig config = small_run();
    config.codec.name = "int8_block";
    config.codec.error_feedback = true;
    config.run.rounds = 60;
    Cluster cluster(config, 4, noisy());
    ASSERT_TRUE(cluster.run_all());
    const double update = cluster[0].record.rounds.back().update_norm;
    for (std::size_t m = 1; m < 4; ++m) {
        EXPECT_LT(distance(cluster.parameters(m), cluster.parameters(0)), 0.2 * update);
    }
}

TEST(Diloco, Anchors_that_drifted_apart_meet_again_through_their_slices) {
    for (const bool slices : {true, false}) {
        RunConfig config = small_run();
        config.run.rounds = 12;
        config.algorithm.anchor_slices = slices ? 4 : 0;
        Cluster cluster(config, 2, noisy(0));
        for (std::size_t m = 0; m < 2; ++m) {
            for (float& x : cluster.parameters(m)) x = m == 0 ? 1.0F : -1.0F;
        }
        ASSERT_TRUE(cluster.run_all());
        const double apart = distance(cluster.parameters(0), cluster.parameters(1));
        if (slices) {
            EXPECT_LT(apart, 1e-4);  // two members: one visit to a slice makes it equal
        } else {
            EXPECT_GT(apart, 1);
        }
    }
}

TEST(Diloco, Waits_for_the_members_it_needs) {
    RunConfig config = small_run();
    config.run.members_min = 2;
    Cluster cluster(config, 2, noisy());
    cluster.start(0);
    cluster.start(1);
    double first_step = 0;
    cluster[0].record.at_step = [&](std::uint64_t step) {
        if (step == 1) first_step = cluster.network().now();
    };
    cluster.network().at(25, [&] { cluster.network().announce_members("both are here"); });
    ASSERT_TRUE(cluster.network().run());
    EXPECT_GE(first_step, 25);
    EXPECT_TRUE(cluster[0].status->ok());
}

TEST(Diloco, Stop_comes_after_the_present_step_and_while_waiting) {
    Cluster cluster(small_run(), 1, noisy());
    cluster[0].record.at_step = [&](std::uint64_t step) {
        if (step == 7) cluster[0].stop.request();
    };
    ASSERT_TRUE(cluster.run_all());
    EXPECT_EQ(cluster[0].status->error().code, ErrorCode::interrupted);
    EXPECT_EQ(cluster[0].worker->step(), 7U);

    RunConfig config = small_run();
    config.run.members_min = 5;
    Cluster waiting(config, 1, noisy());
    waiting.start(0);
    waiting.network().at(3, [&] { waiting[0].stop.request(); });
    ASSERT_TRUE(waiting.network().run());
    EXPECT_EQ(waiting[0].status->error().code, ErrorCode::interrupted);
    EXPECT_EQ(waiting[0].worker->step(), 0U);
}

// Stops both members after `stop_step`, restores them into new sessions and workers, and goes on.
void expect_resume_equals_no_resume(std::uint64_t stop_step) {
    RunConfig config = small_run();
    config.codec.name = "int8_block";
    config.codec.error_feedback = true;
    Cluster whole(config, 2, noisy());
    ASSERT_TRUE(whole.run_all());

    Cluster first(config, 2, noisy());
    std::vector<SavedMember> saved(2);
    for (std::size_t m = 0; m < 2; ++m) {
        first[m].record.at_step = [&, m](std::uint64_t step) {
            if (step == stop_step) first[m].stop.request();
        };
        first[m].after = [&, m](Session& session) {
            saved[m] = SavedMember(session.algorithm(), *first[m].worker);
        };
    }
    ASSERT_TRUE(first.run_all());
    EXPECT_EQ(saved[0].step(), stop_step);

    Cluster second(config, 2, noisy());
    for (std::size_t m = 0; m < 2; ++m) {
        second[m].before = [&, m](Session& session) {
            saved[m].restore(session.algorithm(), *second[m].worker);
        };
    }
    ASSERT_TRUE(second.run_all());
    for (std::size_t m = 0; m < 2; ++m) {
        ASSERT_TRUE(second[m].status->ok()) << second[m].status->error().message;
        EXPECT_EQ(copy(second.parameters(m)), copy(whole.parameters(m)))
            << "stopped after step " << stop_step;
    }
}

TEST(Diloco, Resumed_in_mid_round_equals_no_interruption_bit_for_bit) { expect_resume_equals_no_resume(17); }
TEST(Diloco, Resumed_at_the_end_of_a_rounds_steps_equals_no_interruption) {
    expect_resume_equals_no_resume(15);
}
TEST(Diloco, Resumed_in_the_first_round_equals_no_interruption) { expect_resume_equals_no_resume(3); }

TEST(Diloco, State_that_does_not_fit_together_is_refused) {
    Cluster cluster(small_run(), 1, noisy());
    cluster[0].before = [&](Session& session) {
        session.algorithm().set_round(4);
        cluster[0].worker->set_step(3);
    };
    ASSERT_TRUE(cluster.run_all());
    ASSERT_FALSE(cluster[0].status->ok());
    EXPECT_EQ(cluster[0].status->error().code, ErrorCode::corrupt);
    EXPECT_THAT(cluster[0].status->error().message, HasSubstr("step 3 is not in round 4"));
}

TEST(Diloco, Parameters_that_are_not_finite_end_the_run_with_a_reason) {
    Cluster cluster(small_run(), 1, noisy());
    cluster[0].record.at_step = [&](std::uint64_t step) {
        if (step == 6) cluster.parameters(0)[3] = std::nanf("");
    };
    ASSERT_TRUE(cluster.run_all());
    ASSERT_FALSE(cluster[0].status->ok());
    EXPECT_THAT(cluster[0].status->error().message, HasSubstr("optimizer.learning_rate"));
}

// A member that dies at any moment of a round: the others finish, and say who was missing.
TEST(Diloco, A_member_killed_at_any_moment_leaves_a_reason_not_a_hang) {
    for (int tenth = 0; tenth < 30; ++tenth) {
        const double when = 0.101 + 0.01 * tenth / 3;
        RunConfig config = small_run();
        Cluster cluster(config, 3, noisy());
        for (std::size_t m = 0; m < 3; ++m) cluster.start(m);
        cluster.network().announce_members("start");
        cluster.network().at(when, [&] { cluster.network().kill(2); });
        cluster.network().at(when + 1, [&] { cluster.network().announce_members("member 2 is gone"); });
        ASSERT_TRUE(cluster.network().run());
        for (std::size_t m = 0; m < 2; ++m) {
            ASSERT_TRUE(cluster[m].status.has_value() && cluster[m].status->ok()) << when;
            EXPECT_EQ(cluster[m].worker->step(), 40U);
        }
        std::string reasons;
        for (const auto& report : cluster[0].record.rounds) {
            for (const auto& reason : report.average.reasons) reasons += reason + "\n";
        }
        EXPECT_THAT(reasons, HasSubstr(cluster.network().id(2).short_name())) << when;
        EXPECT_EQ(cluster[0].record.rounds.back().average.members, 2U);
    }
}

TEST(Diloco, A_late_joiner_adopts_the_state_of_a_peer_and_takes_part) {
    RunConfig config = small_run();
    config.run.rounds = 40;
    config.topology.name = "full";  // exact for three members: whoever takes part has the others' bits
    Cluster cluster(config, 3, noisy());
    cluster[2].mode = JoinMode::late;
    cluster.start(0);
    cluster.start(1);
    cluster.network().announce_members_to(0, {0, 1}, "start");
    cluster.network().announce_members_to(1, {0, 1}, "start");
    cluster.network().at(1.0, [&] {
        cluster.start(2);
        cluster.network().announce_members("member 2 joined");
    });
    ASSERT_TRUE(cluster.network().run());
    for (std::size_t m = 0; m < 3; ++m)
        ASSERT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
    ASSERT_FALSE(cluster[2].record.rounds.empty());
    EXPECT_GT(cluster[2].record.rounds.front().round, 10U);
    EXPECT_EQ(cluster[2].worker->step(), 40U * 5U);
    const auto& last = cluster[0].record.rounds.back();
    EXPECT_EQ(last.average.members, 3U);
    EXPECT_TRUE(last.average.complete);
    EXPECT_LT(distance(cluster.parameters(2), cluster.parameters(0)), 0.01 * last.update_norm);
}

// A run that begins with a model: who lacks it waits for a peer that is past round 0, and begins nothing
// alone.
TEST(Diloco, A_member_without_the_runs_first_parameters_begins_nothing) {
    fakes::MemoryNetwork network({.hosts = 1});
    const RunConfig config = testing::small_run();
    testing::QuadraticWorker worker({.learning_rate = 0.1});
    std::optional<Status> status;
    network.start(0, "member", [&] {
        auto session =
            Session::make(config, worker, network.host(0), {.join_seconds = 3, .holds_beginning = false});
        ASSERT_TRUE(session.ok());
        testing::Record record;
        const StopToken stop;
        status = (*session)->run(record, stop, JoinMode::late);
        network.stop(0);
    });
    network.announce_members("start");
    ASSERT_TRUE(network.run());
    ASSERT_FALSE(status->ok());
    EXPECT_EQ(status->error().code, ErrorCode::unavailable);
    EXPECT_THAT(status->error().message, ::testing::HasSubstr("--init"));
    EXPECT_EQ(worker.step(), 0U);
}

TEST(Diloco, A_member_that_fell_behind_catches_up_by_a_peers_state) {
    RunConfig config = small_run();
    config.run.rounds = 200;
    config.averaging.deadline_seconds = 0.02;
    config.topology.name = "full";
    Cluster cluster(config, 3, noisy());
    bool slept = false;
    cluster[2].record.at_step = [&](std::uint64_t step) {
        if (step == 23 && !slept) {
            slept = true;
            cluster.network().host(2).sleep(3);  // others do some 30 rounds meanwhile
        }
    };
    ASSERT_TRUE(cluster.run_all());
    for (std::size_t m = 0; m < 3; ++m)
        ASSERT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
    const auto& rounds = cluster[2].record.rounds;
    EXPECT_LT(rounds.size(), 190U);  // it skipped some
    EXPECT_GT(rounds.size(), 100U);
    EXPECT_EQ(rounds.back().round, 200U);
    std::size_t complete = 0;
    for (const auto& report : cluster[0].record.rounds) complete += report.average.complete ? 1U : 0U;
    EXPECT_GT(complete, 100U);
    EXPECT_LT(distance(cluster.parameters(2), cluster.parameters(0)), 0.01 * rounds.back().update_norm);
}

TEST(Diloco, Dynamic_steps_make_rounds_of_unequal_machines_equally_long) {
    RunConfig config = small_run();
    config.algorithm.inner_steps = 14;
    config.algorithm.dynamic_steps = true;
    config.topology.name = "full";
    const double slowness[] = {1, 2, 4};
    std::vector<double> seconds;
    for (const bool dynamic : {true, false}) {
        config.algorithm.dynamic_steps = dynamic;
        Cluster cluster(config, 3, noisy());
        double end = 0;
        for (std::size_t m = 0; m < 3; ++m) {
            cluster[m].step_seconds = 0.01 * slowness[m];
            cluster[m].record.at_step = [&](std::uint64_t) { end = cluster.network().now(); };
        }
        ASSERT_TRUE(cluster.run_all());
        seconds.push_back(end);
        if (!dynamic) continue;
        // The mean of 100, 50 and 25 steps a second is 58.3: 14 times 12/7, 6/7 and 3/7.
        for (std::size_t m = 0; m < 3; ++m) {
            const RoundReport& report = cluster[m].record.rounds.back();
            EXPECT_EQ(report.steps, static_cast<std::uint64_t>(24 / slowness[m])) << m;
            EXPECT_EQ(report.step, 8U * 14U);
        }
        EXPECT_EQ(copy(cluster.parameters(1)), copy(cluster.parameters(0)));
    }
    // One round of 14 x 40 ms and seven of 240 ms, against eight of 560 ms; and the exchanges.
    EXPECT_NEAR(seconds[0], 0.56 + 7 * 0.24, 0.05);
    EXPECT_NEAR(seconds[1], 8 * 0.56, 0.05);
}

TEST(SharedState, What_does_not_fit_changes_nothing) {
    const RunConfig config = small_run();
    auto algorithm = make_algorithm("diloco", config, 64);
    ASSERT_TRUE(algorithm.ok());
    QuadraticWorker worker({});
    for (auto& vector : (*algorithm)->state()) std::ranges::fill(vector.values, 0.5F);
    (*algorithm)->set_round(3);
    const SharedBytes encoded = encode_shared_state(**algorithm);
    ASSERT_EQ(encoded.size(), shared_state_bytes(**algorithm));
    const Bytes good(encoded.view().begin(), encoded.view().end());

    auto other = make_algorithm("diloco", config, 64);
    const auto refused = [&](const Bytes& bytes, std::uint64_t round) {
        const Status status = adopt_shared_state(bytes, round, **other, worker);
        EXPECT_EQ((*other)->round(), 0U);
        EXPECT_THAT(copy((*other)->state().front().values), Each(0.0F));
        return status.ok() ? std::string() : status.error().message;
    };
    EXPECT_THAT(refused(Bytes(good.begin(), good.end() - 4), 3), HasSubstr("bytes; expected"));
    EXPECT_THAT(refused(good, 4), HasSubstr("announced was 4"));
    Bytes magic = good;
    magic[0] = std::byte{'X'};
    EXPECT_THAT(refused(magic, 3), HasSubstr("unknown format"));
    Bytes nan = good;
    const float value = std::nanf("");
    std::memcpy(nan.data() + nan.size() - 4, &value, 4);
    EXPECT_THAT(refused(nan, 3), HasSubstr("not finite"));

    ASSERT_TRUE(adopt_shared_state(good, 3, **other, worker).ok());
    EXPECT_EQ((*other)->round(), 3U);
    EXPECT_EQ(worker.step(), 15U);
    EXPECT_THAT(copy(worker.parameters()), Each(0.5F));
    EXPECT_EQ(worker.changes(), 1U);
}

}  // namespace
}  // namespace Atoll::federation

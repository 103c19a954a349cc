// Asynchronous and decoupled DiLoCo: against DiLoCo where they are the same, and by exact accounting where
// messages are lost and machines are unequal, stop, die and come back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "federation/outer/delayed_nesterov.h"
#include "tests/federation/member_cluster.h"
#include "tests/federation/saved_member.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::copy;
using federation::testing::QuadraticWorker;
using federation::testing::SavedMember;
using federation::testing::small_run;
using ::testing::Each;
using ::testing::HasSubstr;

RunConfig syncer_run(const std::string& name) {
    RunConfig config = small_run();
    config.algorithm.name = name;
    config.algorithm.fragments = 2;
    config.model.layers = 4;
    if (name == "decoupled_diloco") config.algorithm.grace_seconds = 0.01;
    return config;
}

RunConfig sum_run(const std::string& name) {  // Theta is the sum of what comes, each by 1 / N
    RunConfig config = syncer_run(name);
    config.algorithm.outer_optimizer = "sgd";
    config.algorithm.outer_learning_rate = 1;
    config.algorithm.outer_momentum = 0;
    return config;
}

// Every step adds `stride` to every value, wherever it is: sums of powers of two are exact in fp32.
class Walker : public QuadraticWorker {
  public:
    explicit Walker(float stride) : QuadraticWorker({}), stride_(stride) {}
    Result<StepResult> inner_step() override {
        for (float& x : parameters()) x += stride_;
        set_step(step() + 1);
        return StepResult{.tokens = 4};
    }

  private:
    float stride_;
};
Cluster::MakeWorker walkers() {
    return [](std::size_t i) { return std::make_unique<Walker>(0.125F * static_cast<float>(i + 1)); };
}

Cluster::MakeWorker noisy(double noise = 0.1) {
    return [noise](std::size_t i) {
        return std::make_unique<QuadraticWorker>(
            QuadraticWorker::Options{.noise = noise, .noise_seed = 100 + i});
    };
}

void lose(Cluster& cluster, double fraction) {
    auto luck = std::make_shared<Rng>(Rng(3).split("loss"));
    cluster.network().set_hook([luck, fraction](const fakes::MemoryNetwork::Departure&) {
        return luck->uniform() < fraction ? fakes::MemoryNetwork::Fate{} : fakes::MemoryNetwork::Fate{0};
    });
}

TEST(DelayedNesterov, N_arrivals_from_one_point_are_a_nesterov_step_on_their_mean) {
    constexpr OuterOptions kOptions{.learning_rate = 0.5, .momentum = 0.75};
    DelayedNesterov delayed(kOptions, 4);
    auto nesterov = make_outer_optimizer("nesterov", kOptions, 4);
    ASSERT_TRUE(nesterov.ok());
    std::vector<float> a(4), b(4);
    Rng rng(5);
    for (int step = 0; step < 20; ++step) {
        std::vector<float> mean(4);
        for (std::size_t k = 0; k < 4; ++k) {
            std::vector<float> delta(4);
            for (std::size_t i = 0; i < 4; ++i) {
                delta[i] = static_cast<float>(rng.normal());
                mean[i] += delta[i] / 4;
            }
            delayed.arrive(0, a, delta, 4, k == 3);
        }
        (*nesterov)->step(b, mean);
        for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(a[i], b[i], 1e-5);
    }
}

TEST(SyncerTraining, One_member_does_what_diloco_does) {
    for (const char* name : {"async_diloco", "decoupled_diloco"}) {
        RunConfig config = syncer_run(name);
        if (name == std::string("decoupled_diloco")) config.algorithm.fragments = 1;
        config.run.rounds = 20;
        Cluster syncer(config, 1, noisy());
        ASSERT_TRUE(syncer.run_all());
        RunConfig other = small_run();
        other.run.rounds = 20;
        Cluster diloco(other, 1, noisy());
        ASSERT_TRUE(diloco.run_all());
        for (std::size_t i = 0; i < 64; ++i) {
            EXPECT_NEAR(syncer.parameters(0)[i], diloco.parameters(0)[i], 2e-6) << name << " " << i;
        }
    }
}

// Machines of other speeds, a slow network that loses a third: every step of everybody is in Theta, once.
TEST(AsyncDiloco, Every_inner_step_counts_exactly_once) {
    for (const double loss : {0.0, 0.3}) {
        Cluster cluster(sum_run("async_diloco"), 4, walkers(), {.latency_seconds = 0.03});
        lose(cluster, loss);
        for (std::size_t m = 0; m < 4; ++m) cluster[m].step_seconds = 0.01 * static_cast<double>(m + 1);
        ASSERT_TRUE(cluster.run_all());
        // 8 rounds of 5 steps: (0.125 + 0.25 + 0.375 + 0.5) * 40 / 4
        for (std::size_t m = 0; m < 4; ++m) {
            ASSERT_TRUE(cluster[m].status->ok());
            EXPECT_THAT(copy(cluster.parameters(m).first(64)), Each(12.5F))
                << "member " << m << " loss " << loss;
        }
    }
}

TEST(AsyncDiloco, What_was_not_acknowledged_when_a_node_stops_is_sent_after_the_restart) {
    Cluster first(sum_run("async_diloco"), 2, walkers(), {.latency_seconds = 0.03});
    std::vector<SavedMember> saved(2);
    for (std::size_t m = 0; m < 2; ++m) {
        first[m].record.at_step = [&, m](std::uint64_t step) {
            if (step == 16) first[m].stop.request();  // the third update has just left
        };
        first[m].after = [&, m](Session& session) {
            saved[m] = SavedMember(session.algorithm(), *first[m].worker);
        };
    }
    ASSERT_TRUE(first.run_all());
    Cluster second(sum_run("async_diloco"), 2, walkers(), {.latency_seconds = 0.03});
    for (std::size_t m = 0; m < 2; ++m) {
        second[m].before = [&, m](Session& session) {
            saved[m].restore(session.algorithm(), *second[m].worker);
        };
    }
    ASSERT_TRUE(second.run_all());
    // 40 steps of each member, by half: nothing is lost or counted twice.
    for (std::size_t m = 0; m < 2; ++m) {
        EXPECT_THAT(copy(second.parameters(m).first(64)), Each((0.125F + 0.25F) * 20)) << m;
    }
}

TEST(SyncerTraining, A_restart_of_one_member_goes_on_bit_for_bit) {
    for (const char* name : {"async_diloco", "decoupled_diloco"}) {
        for (const std::uint64_t stop_step : {1U, 2U, 5U, 17U, 18U}) {
            RunConfig config = syncer_run(name);
            config.codec.name = "int8_block";
            config.codec.error_feedback = true;
            Cluster whole(config, 1, noisy());
            ASSERT_TRUE(whole.run_all());
            Cluster first(config, 1, noisy());
            SavedMember saved;
            first[0].record.at_step = [&](std::uint64_t step) {
                if (step == stop_step) first[0].stop.request();
            };
            first[0].after = [&](Session& session) {
                saved = SavedMember(session.algorithm(), *first[0].worker);
            };
            ASSERT_TRUE(first.run_all());
            Cluster second(config, 1, noisy());
            second[0].before = [&](Session& session) {
                saved.restore(session.algorithm(), *second[0].worker);
            };
            ASSERT_TRUE(second.run_all());
            EXPECT_EQ(copy(second.parameters(0)), copy(whole.parameters(0))) << name << " " << stop_step;
        }
    }
}

TEST(SyncerTraining, Learners_never_wait_for_messages_nor_for_slow_members) {
    for (const char* name : {"async_diloco", "decoupled_diloco"}) {
        RunConfig config = syncer_run(name);
        config.algorithm.outer_learning_rate = 0.1;
        Cluster cluster(config, 3, noisy(), {.latency_seconds = 0.2});
        cluster[2].step_seconds = 0.05;
        std::vector<double> last_step(3);
        for (std::size_t m = 0; m < 3; ++m) {
            cluster[m].record.at_step = [&, m](std::uint64_t step) {
                if (step == 40) last_step[m] = cluster.network().now();
            };
        }
        ASSERT_TRUE(cluster.run_all());
        EXPECT_NEAR(last_step[0], 40 * 0.01, 1e-9) << name;
        EXPECT_NEAR(last_step[1], 40 * 0.01, 1e-9) << name;
        EXPECT_NEAR(last_step[2], 40 * 0.05, 1e-9) << name;
        for (std::size_t m = 0; m < 3; ++m) {
            ASSERT_TRUE(cluster[m].status->ok());
            EXPECT_EQ(copy(cluster.parameters(m)), copy(cluster.parameters(0)))
                << name << ": they end together";
            EXPECT_TRUE(cluster[m].record.rounds.back().average.complete)
                << name << " " << ::testing::PrintToString(cluster[m].record.rounds.back().average.reasons);
        }
    }
}

TEST(AsyncDiloco, Dynamic_steps_follow_the_measured_speed) {
    RunConfig config = syncer_run("async_diloco");
    config.algorithm.outer_learning_rate = 0.1;
    config.algorithm.inner_steps = 16;
    config.algorithm.dynamic_steps = true;
    config.run.rounds = 40;
    Cluster cluster(config, 3, noisy());
    const double slowness[] = {1, 2, 4};
    std::vector<double> last(3);
    for (std::size_t m = 0; m < 3; ++m) {
        cluster[m].step_seconds = 0.01 * slowness[m];
        cluster[m].record.at_step = [&, m](std::uint64_t) { last[m] = cluster.network().now(); };
    }
    ASSERT_TRUE(cluster.run_all());
    for (std::size_t m = 0; m < 3; ++m) {
        const RoundReport& report = cluster[m].record.rounds.back();
        EXPECT_EQ(report.steps, static_cast<std::uint64_t>(16 / slowness[m])) << m;
        EXPECT_EQ(report.step, 640U);  // of the schedule: where the others are
        EXPECT_NEAR(last[m], last[0], 0.25 * last[0])
            << m;  // without: 4 times as long; the first rounds measure
    }
    // Equal machines keep all their steps.
    Cluster equal(config, 3, noisy());
    ASSERT_TRUE(equal.run_all());
    for (const auto& report : equal[2].record.rounds) EXPECT_EQ(report.steps, 16U);
}

// The syncer of half the vector dies: the next member takes over, and what was on its way is sent there.
TEST(SyncerTraining, A_syncer_that_dies_is_followed_by_the_next) {
    for (const char* name : {"async_diloco", "decoupled_diloco"}) {
        RunConfig config = syncer_run(name);
        config.algorithm.outer_learning_rate = 0.1;
        config.run.rounds = 60;
        Cluster cluster(config, 3, noisy(0.01));
        cluster.network().at(0.5, [&] { cluster.network().kill(0); });
        cluster.network().at(0.8, [&] { cluster.network().announce_members("0 is gone"); });
        ASSERT_TRUE(cluster.run_all());
        std::string reasons;
        for (const std::size_t m : {1UL, 2UL}) {
            ASSERT_TRUE(cluster[m].status->ok());
            EXPECT_EQ(copy(cluster.parameters(m)), copy(cluster.parameters(1)));
            for (const auto& report : cluster[m].record.rounds) {
                for (const auto& reason : report.average.reasons) reasons += reason + "\n";
            }
        }
        EXPECT_THAT(reasons, HasSubstr(cluster.network().id(0).short_name())) << name;
        EXPECT_LT(cluster[1].worker->validation_loss().value(),
                  0.02 * QuadraticWorker({}).validation_loss().value());
    }
}

TEST(SyncerTraining, Absurd_updates_are_refused_and_their_sender_named) {
    class Mad : public QuadraticWorker {
      public:
        Mad() : QuadraticWorker({}) {}
        Result<StepResult> inner_step() override {
            for (float& x : parameters()) x += 1e6F;
            set_step(step() + 1);
            return StepResult{.tokens = 1};
        }
    };
    for (const char* name : {"async_diloco", "decoupled_diloco"}) {
        RunConfig config = syncer_run(name);
        config.algorithm.fragments = 1;  // member 0 leads
        Cluster cluster(config, 3, [](std::size_t i) -> std::unique_ptr<Worker> {
            if (i == 2) return std::make_unique<Mad>();
            return noisy()(i);
        });
        cluster[2].step_seconds = 0.011;
        ASSERT_TRUE(cluster.run_all());
        std::string reasons;
        for (const auto& report : cluster[0].record.rounds) {
            for (const auto& reason : report.average.reasons) reasons += reason + "\n";
        }
        EXPECT_THAT(reasons, HasSubstr("refused an update of " + cluster.network().id(2).short_name()))
            << name;
        for (const float x : cluster.parameters(0)) EXPECT_LT(std::abs(x), 100) << name;
    }
}

// Quorum: two of three. What the third one sends takes 30 ms longer: it is waited for if the grace time
// allows it; if not its updates count in the next step, which then has its quorum with one more.
TEST(DecoupledDiloco, A_step_waits_for_the_quorum_and_for_those_within_the_grace_time) {
    for (const bool grace : {true, false}) {
        RunConfig config = syncer_run("decoupled_diloco");
        config.algorithm.fragments = 1;
        config.algorithm.quorum = 0.66;
        config.algorithm.grace_seconds = grace ? 0.1 : 0.001;
        config.algorithm.outer_learning_rate = 0.1;
        config.algorithm.inner_steps = 10;
        config.run.rounds = 30;
        Cluster cluster(config, 3, noisy());
        cluster.network().set_hook([](const fakes::MemoryNetwork::Departure& departure) {
            return fakes::MemoryNetwork::Fate{departure.from == 2 ? 0.03 : 0};
        });
        std::vector<float> versions;
        cluster[0].after = [&](Session& session) {
            for (const auto& vector : session.algorithm().state()) {
                if (vector.name == "versions") versions = copy(vector.values);
            }
        };
        ASSERT_TRUE(cluster.run_all());
        ASSERT_EQ(versions.size(), 1U);
        if (grace) {
            EXPECT_EQ(versions[0], 30);  // a step a round, with all three
        } else {
            EXPECT_GE(versions[0], 40);  // 90 updates, two at a time
        }
    }
}

TEST(SyncerTraining, What_does_not_fit_is_refused_with_both_keys) {
    const auto refusal = [](const RunConfig& config) {
        const Status status = validate(config);
        return status.ok() ? std::string() : status.error().message;
    };
    for (const char* name : {"async_diloco", "decoupled_diloco"}) {
        RunConfig config = syncer_run(name);
        EXPECT_EQ(refusal(config), "");
        config.topology.name = "ring";
        EXPECT_THAT(refusal(config),
                    HasSubstr("topology.name = ring but algorithm.name = " + std::string(name)));
        config = syncer_run(name);
        config.algorithm.fragments = 5;
        EXPECT_THAT(refusal(config), HasSubstr("algorithm.fragments = 5 but model.layers = 4"));
        config = syncer_run(name);
        config.algorithm.fragments = 4;
        config.algorithm.inner_steps = 3;
        EXPECT_THAT(refusal(config),
                    HasSubstr("algorithm.fragments = 4 (4 fragments) but algorithm.inner_steps = 3"));
    }
    RunConfig config = syncer_run("async_diloco");
    config.algorithm.outer_optimizer = "adam";
    EXPECT_THAT(refusal(config),
                HasSubstr("algorithm.outer_optimizer = adam but algorithm.name = async_diloco"));
    config = syncer_run("decoupled_diloco");
    config.algorithm.grace_seconds = 2;
    EXPECT_THAT(refusal(config), HasSubstr("algorithm.grace_seconds = 2 but averaging.deadline_seconds = 2"));
    config = small_run();
    config.algorithm.quorum = 0.7;
    EXPECT_THAT(refusal(config),
                HasSubstr("algorithm.quorum = 0.7 but algorithm.name = diloco does not read it"));
}

}  // namespace
}  // namespace Atoll::federation

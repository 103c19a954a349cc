// What every algorithm of the table that does not say otherwise bears: a third of all messages lost, and a
// fifth of the members switched off every ten rounds and back a while later, from their last checkpoint.
#include <gtest/gtest.h>

#include "federation/algorithm/algorithm.h"
#include "tests/contracts/suited_run.h"
#include "tests/federation/member_cluster.h"
#include "tests/federation/saved_member.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::QuadraticWorker;
using federation::testing::SavedMember;

constexpr std::size_t kMembers = 5;
constexpr std::int64_t kRounds = 60;
constexpr std::uint64_t kInnerSteps = 5;
// Training a language model takes its loss from about ln(vocabulary) down to the entropy of the text, a third
// of that or more: what is left when the quadratic is at its minimum.
constexpr double kFloorOfStart = 1.0 / 3;

class AlgorithmFaults : public ::testing::TestWithParam<AlgorithmEntry> {
  protected:
    static RunConfig config() {
        RunConfig config = federation::testing::small_run();
        config.algorithm.name = std::string(GetParam().name);
        config.algorithm.inner_steps = kInnerSteps;
        config.run.rounds = kRounds;
        config.averaging.deadline_seconds = 5;
        return federation::testing::suited(config);
    }
    static std::unique_ptr<Worker> worker(std::size_t i) {
        return federation::testing::suited_worker(
            config(), {.learning_rate = 0.05, .noise = 0.1, .noise_seed = 10 + i});
    }
    // Half a second a step: a state is fetched within a few rounds.
    static void slow_down(Cluster& cluster) {
        for (std::size_t m = 0; m < kMembers; ++m) cluster[m].step_seconds = 0.5;
    }
    // Mean over the members that finished, with the floor.
    static double final_loss(Cluster& cluster) {
        double sum = 0;
        for (std::size_t m = 0; m < kMembers; ++m) {
            const auto& status = cluster[m].status;
            EXPECT_TRUE(status && status->ok()) << m << ": " << (status ? status->error().message : "no end");
            sum += cluster[m].worker->validation_loss().value() / kMembers;
        }
        const double start = QuadraticWorker({}).validation_loss().value();
        return sum + kFloorOfStart * start;
    }
};

// Kills a member every ten rounds of member 0, each in its turn, and brings it back two rounds later.
class Churn {
  public:
    explicit Churn(Cluster& cluster) : cluster_(cluster), saved_(kMembers), up_(kMembers, true) {
        for (std::size_t m = 0; m < kMembers; ++m) {
            cluster_[m].record.at_persist = [this, m](Algorithm& algorithm) {
                saved_[m] = SavedMember(algorithm, *cluster_[m].worker);
            };
            cluster_[m].record.at_round = [this, m](const RoundReport&, Algorithm& algorithm) {
                cluster_[m].record.at_persist(algorithm);
            };
        }
        cluster_[0].record.at_step = [this](std::uint64_t step) {
            const std::uint64_t round = step / kInnerSteps;
            if (step % kInnerSteps < 3) return;  // in the middle of a round
            if (round >= off_round_ && off_round_ + 10 < kRounds) {
                switch_off(1 + (off_round_ / 10) % (kMembers - 1));
                off_round_ += 10;
                on_round_ = round + 2;
            } else if (round >= on_round_) {
                switch_on();
            }
        };
    }
    std::size_t switched() const { return switched_; }

  private:
    void switch_off(std::size_t m) {
        if (!up_[m] || cluster_[m].status) return;
        up_[m] = false;
        ++switched_;
        cluster_.network().kill(m);
        cluster_.network().at(cluster_.network().now() + 3,
                              [this] { cluster_.network().announce_members("one is gone"); });
    }
    void switch_on() {
        for (std::size_t m = 0; m < kMembers; ++m) {
            if (up_[m]) continue;
            up_[m] = true;
            cluster_[m].mode = JoinMode::late;
            cluster_[m].before = [this, m](Session& session) {
                saved_[m].restore(session.algorithm(), *cluster_[m].worker);
            };
            cluster_.network().revive(m);
            cluster_[m].status.reset();
            cluster_.start(m);
            cluster_.network().announce_members("one is back");
        }
    }

    Cluster& cluster_;
    std::vector<SavedMember> saved_;
    std::vector<bool> up_;
    std::size_t switched_ = 0;
    std::uint64_t off_round_ = 9;
    std::uint64_t on_round_ = 11;
};

TEST_P(AlgorithmFaults, Lost_messages_and_restarts_cost_less_than_three_percent) {
    Cluster quiet(config(), kMembers, worker);
    slow_down(quiet);
    ASSERT_TRUE(quiet.run_all());
    const double quiet_loss = final_loss(quiet);
    if (!GetParam().cannot_bear.empty()) return;

    Cluster faulty(config(), kMembers, worker);
    slow_down(faulty);
    Churn churn(faulty);
    Rng luck = Rng(7).split("loss");
    faulty.network().set_hook([&](const fakes::MemoryNetwork::Departure&) {
        return luck.uniform() < 0.3 ? fakes::MemoryNetwork::Fate{} : fakes::MemoryNetwork::Fate{0};
    });
    ASSERT_TRUE(faulty.run_all());
    EXPECT_GE(churn.switched(), 4U);
    const double loss = final_loss(faulty);
    EXPECT_LT(loss, 1.03 * quiet_loss);
    RecordProperty("loss_ratio", std::to_string(loss / quiet_loss));
}

INSTANTIATE_TEST_SUITE_P(Table, AlgorithmFaults,
                         ::testing::ValuesIn(algorithms().begin(), algorithms().end()),
                         [](const auto& entry) { return std::string(entry.param.name); });

}  // namespace
}  // namespace Atoll::federation

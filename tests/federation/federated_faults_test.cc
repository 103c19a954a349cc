// Exactly once: pushes over a network that loses, repeats and delays, between members that are switched off
// at any moment and come back with what they had persisted. Gradients are whole numbers, so that sums are
// exact whatever their order.
#include <gtest/gtest.h>

#include "tests/federation/federated_cluster.h"

namespace Atoll::federation {
namespace {

using fakes::MemoryNetwork;
using federation::testing::federated_run;
using federation::testing::FederatedCluster;

constexpr std::size_t kMembers = 3;
constexpr std::size_t kValues = 16;

// Its gradients are whole numbers that follow from (client, how many it has taken).
class CountingClient : public Worker {
  public:
    explicit CountingClient(std::size_t index) : index_(index) {
        layout_.add("x", {static_cast<std::int64_t>(kValues)});
        parameters_ = kernels::FlatBuffer(layout_.size());
    }
    [[nodiscard]] const kernels::Layout& layout() const override { return layout_; }
    [[nodiscard]] std::span<float> parameters() override { return parameters_.span(); }
    void parameters_changed() override {}
    [[nodiscard]] Result<StepResult> gradient(std::span<float> gradient) override {
        Rng rng = Rng(index_).split("gradient", taken_++);
        for (float& g : gradient) g = static_cast<float>(rng.below(2000)) - 1000;
        return StepResult{.tokens = 1, .learning_rate = 0.001};
    }
    [[nodiscard]] Result<StepResult> inner_step() override { return Error{ErrorCode::failed, "not asked"}; }
    [[nodiscard]] Result<double> validation_loss() override { return 0.0; }
    [[nodiscard]] std::uint64_t step() const override { return step_; }
    void set_step(std::uint64_t step) override { step_ = step; }

  private:
    std::size_t index_;
    std::uint64_t taken_ = 0;
    kernels::Layout layout_;
    kernels::FlatBuffer parameters_;
    std::uint64_t step_ = 0;
};

struct Counts {
    std::size_t restarts = 0;
    std::size_t lost = 0;
    std::size_t repeated = 0;
    std::size_t withdrawn = 0;  // pushes whose bytes a crash had taken
};

void run_schedule(std::uint64_t seed, Counts& counts) {
    constexpr double kChaosSeconds = 12;
    constexpr std::uint64_t kRounds = 12;
    constexpr std::uint64_t kQuietRounds = 6;  // at the end: who is off then would miss the end of the run
    Rng rng = Rng(seed).split("schedule");
    RunConfig config = federated_run("focus", kRounds, 0.001);
    config.algorithm.inner_steps = 1;
    config.algorithm.federated.participation = rng.below(2) == 0 ? "full" : "bernoulli";
    config.algorithm.federated.remember_clients = rng.below(4) != 0;
    config.algorithm.federated.participation_low =
        config.algorithm.federated.participation == "full" ? 0.1 : 0.8;
    config.algorithm.federated.round_seconds = 3;
    config.averaging.deadline_seconds = 200;
    config.averaging.norm_ratio_max = 1e6;
    config.run.seed = static_cast<std::int64_t>(seed);
    FederatedCluster cluster(config, kMembers,
                             [](std::size_t i) { return std::make_unique<CountingClient>(i); },
                             {.seed = seed, .jitter_seconds = 0.2});
    MemoryNetwork& network = cluster.network();
    for (std::size_t i = 0; i < kMembers; ++i)
        cluster[i].step_seconds = i == 0 ? 0.5 : 0.1 + 0.4 * rng.uniform();
    network.set_hook([&network, &counts, fate = rng.split("fate")](
                         const MemoryNetwork::Departure& departure) mutable -> MemoryNetwork::Fate {
        counts.withdrawn += std::holds_alternative<gossip::MixWithdraw>(departure.body) ? 1 : 0;
        if (network.now() > kChaosSeconds) return {0.0};
        switch (fate.below(8)) {
            case 0:
            case 1: ++counts.lost; return {};
            case 2: ++counts.repeated; return {0.0, 3 * fate.uniform()};
            case 3: return {2 * fate.uniform()};
            case 4: ++counts.repeated; return {5 * fate.uniform(), 0.1, 20 * fate.uniform()};
            default: return {0.0};
        }
    });
    // Everybody is switched off now and then, the server too; not before the server has begun, since a server
    // that has never persisted has not told anybody anything.
    for (std::size_t i = 0; i < kMembers; ++i) {
        double time = 0.5;
        for (std::uint64_t times = rng.below(3); times > 0; --times) {
            time += 1 + 5 * rng.uniform();
            const double off = 0.1 + rng.uniform();
            network.at(time, [&cluster, &counts, i, off] {
                const bool soon_over = cluster.disks[0].round() + kQuietRounds > kRounds;
                if (soon_over || !cluster.network().alive(i) || cluster.disks[0].empty()) return;
                bool others = false;  // with nobody on, the simulation would be over
                for (std::size_t other = 0; other < kMembers; ++other)
                    others = others || (other != i && cluster.network().alive(other));
                if (!others) return;
                ++counts.restarts;
                cluster.restart(i, off);
            });
        }
    }
    ASSERT_TRUE(cluster.run_all());
    std::vector<float> sum(kValues);
    for (std::size_t i = 0; i < kMembers; ++i) {
        ASSERT_TRUE(cluster[i].status && cluster[i].status->ok())
            << "member " << i << ": " << cluster[i].status->error().message;
        const std::vector<float> tracked = cluster.disks[i].vector("own.tracked");
        for (std::size_t j = 0; j < kValues; ++j) sum[j] += tracked[j];
        const auto copy = cluster.disks[0].vector("memory." + network.id(i).text());
        if (config.algorithm.federated.remember_clients) {
            ASSERT_EQ(copy, tracked) << "member " << i;
        }
    }
    ASSERT_EQ(cluster.disks[0].vector("server.sum"), sum);
}

TEST(FederatedFaults, Every_push_counts_exactly_once_whatever_the_network_and_the_members_do) {
    Counts counts;
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        run_schedule(seed, counts);
        ASSERT_FALSE(HasFailure()) << "seed " << seed;
    }
    EXPECT_GT(counts.restarts, 500U) << "the faults must have hit";
    EXPECT_GT(counts.lost, 10000U);
    EXPECT_GT(counts.repeated, 10000U);
    EXPECT_GT(counts.withdrawn, 100U);
}

}  // namespace
}  // namespace Atoll::federation

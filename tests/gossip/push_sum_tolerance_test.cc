// Push-sum until a tolerance: all members stop at the same stage, and the mean is as near as was asked for.
#include <gtest/gtest.h>

#include <cmath>

#include "gossip/averaging/averaging.h"
#include "gossip/topology/digest.h"
#include "gossip/topology/reach.h"
#include "tests/contracts/mixing_matrix.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::gossip {
namespace {

using fakes::MemoryNetwork;

constexpr std::size_t kValues = 50;

std::unique_ptr<Topology> make(const TopologyEntry& entry) {
    return entry.make({.degree = std::max<std::int64_t>(entry.degree_min, 1), .seed = 3});
}

struct Outcome {
    std::vector<AverageReport> reports;
    double distance = 0;  // of the worst member from the mean, as a fraction of its norm
};

Outcome run(const Topology& topology, std::size_t n, AveragingOptions options, double spread = 1,
            const MemoryNetwork::Hook& hook = {}) {
    MemoryNetwork network({.hosts = n, .jitter_seconds = 0.5});
    if (hook) network.set_hook(hook);
    Outcome outcome{std::vector<AverageReport>(n)};
    std::vector<std::vector<float>> values(n, std::vector<float>(kValues));
    std::vector<double> mean(kValues, 0);
    Rng rng(n);
    for (std::size_t i = 0; i < kValues; ++i) {
        const double common = rng.normal();
        for (auto& vector : values) {
            vector[i] = static_cast<float>(common + spread * rng.normal());
            mean[i] += double{vector[i]} / double(n);
        }
    }
    const auto codec = make_codec("none", {}).value();
    for (std::size_t m = 0; m < n; ++m) {
        network.start(m, "average", [&, m] {
            Inbox inbox(network.host(m));
            ASSERT_TRUE(inbox.wait_for_members(n, 1));
            const auto scheme =
                make_averaging("push_sum", {network.host(m), inbox, topology, options}).value();
            AveragePart part{values[m], codec.get(), {}};
            auto report = scheme->average(2, std::span(&part, 1));
            ASSERT_TRUE(report.ok()) << report.error().message;
            outcome.reports[m] = *report;
        });
    }
    network.announce_members("start");
    EXPECT_TRUE(network.run());
    double norm = 0;
    for (const double value : mean) norm += value * value;
    for (const auto& vector : values) {
        double away = 0;
        for (std::size_t i = 0; i < kValues; ++i) away += std::pow(double{vector[i]} - mean[i], 2);
        outcome.distance = std::max(outcome.distance, std::sqrt(away / norm));
    }
    return outcome;
}

TEST(PushSumTolerance, All_stop_at_the_same_stage_near_the_mean_over_every_topology) {
    for (const TopologyEntry& entry : topologies()) {
        for (const std::size_t n : {2U, 5U, 9U}) {
            SCOPED_TRACE(std::string(entry.name) + " of " + std::to_string(n));
            const auto topology = make(entry);
            const Outcome outcome = run(*topology, n, {.tolerance = 1e-3});
            for (const AverageReport& report : outcome.reports) {
                EXPECT_TRUE(report.complete);
                EXPECT_EQ(report.stages, outcome.reports[0].stages);
                EXPECT_NEAR(report.weight, 1, 1e-12);
            }
            EXPECT_LT(outcome.distance, 1e-3 * double(n));
        }
    }
}

TEST(PushSumTolerance, Takes_as_many_stages_as_the_tolerance_asks_for) {
    const auto ring = make_topology("ring", {}).value();
    const std::size_t coarse = run(*ring, 12, {.tolerance = 0.1}).reports[0].stages;
    const std::size_t fine = run(*ring, 12, {.tolerance = 1e-4}).reports[0].stages;
    EXPECT_LT(coarse, fine);
    // A window of 6 in which all agree, one in which all hear of it.
    EXPECT_EQ(run(*ring, 12, {.tolerance = 1e-3}, 0).reports[0].stages, 12U);
    // Exact after a window: the second sees it, the third tells it.
    const auto exact = make_topology("one_peer_exponential", {}).value();
    EXPECT_EQ(run(*exact, 8, {.tolerance = 1e-5}).reports[0].stages, 9U);
}

TEST(PushSumTolerance, Makes_no_more_stages_than_it_may) {
    const auto ring = make_topology("ring", {}).value();
    const Outcome outcome = run(*ring, 16, {.stages = 10, .tolerance = 1e-6});
    for (const AverageReport& report : outcome.reports) EXPECT_EQ(report.stages, 10U);
    EXPECT_GT(outcome.distance, 1e-3);
}

TEST(PushSumTolerance, Lost_messages_cost_a_deadline_and_not_more) {
    Rng rng(5);
    const auto topology = make_topology("one_peer_exponential", {}).value();
    const Outcome outcome =
        run(*topology, 6, {.deadline_seconds = 3, .stages = 30, .tolerance = 1e-3}, 1,
            [&](const MemoryNetwork::Departure&) -> MemoryNetwork::Fate {
                return rng.uniform() < 0.1 ? MemoryNetwork::Fate{} : MemoryNetwork::Fate{0.0};
            });
    for (const AverageReport& report : outcome.reports) EXPECT_LE(report.seconds, 30 * 3 + 1e-9);
}

TEST(PushSumTolerance, A_lie_about_agreement_ends_nothing_early_and_keeps_nobody_for_ever) {
    // Member 0 claims that nobody agrees, ever; the others would be through.
    for (const double claim : {0.0, 1e300}) {
        MemoryNetwork network({.hosts = 3});
        const auto topology = make_topology("full", {}).value();
        const auto codec = make_codec("none", {}).value();
        std::vector<AverageReport> reports(3);
        for (std::size_t m = 1; m < 3; ++m) {
            network.start(m, "honest", [&, m] {
                Inbox inbox(network.host(m));
                ASSERT_TRUE(inbox.wait_for_members(3, 1));
                const AveragingOptions options{.deadline_seconds = 2, .stages = 12, .tolerance = 1e-3};
                const auto scheme =
                    make_averaging("push_sum", {network.host(m), inbox, *topology, options}).value();
                std::vector<float> values(4, static_cast<float>(m));
                AveragePart part{values, codec.get(), {}};
                reports[m] = scheme->average(0, std::span(&part, 1)).value();
            });
        }
        network.start(0, "liar", [&] {
            Inbox inbox(network.host(0));
            ASSERT_TRUE(inbox.wait_for_members(3, 1));
            for (std::uint32_t stage = 0; stage < 12; ++stage) {
                for (const std::size_t to : {1U, 2U}) {
                    const std::vector<float> values(4, 1.5F);
                    const ByteView bytes = std::as_bytes(std::span<const float>(values));
                    const MixShare share{.stage = stage,
                                         .sequence = 2 * stage + to,
                                         .weight = 1.0 / 3,
                                         .disagreement = claim,
                                         .schedule = schedule_digest(*topology, inbox.view()),
                                         .parts = {{0, 4, 16}}};
                    ASSERT_TRUE(
                        network.host(0)
                            .send(network.id(to), share, SharedBytes(Bytes(bytes.begin(), bytes.end())))
                            .ok());
                }
            }
        });
        network.announce_members("start");
        ASSERT_TRUE(network.run());
        EXPECT_EQ(reports[1].stages, reports[2].stages);
        if (claim == 0) {
            EXPECT_EQ(reports[1].stages, 3U) << "the others know better than it";
        } else {
            EXPECT_EQ(reports[1].stages, 12U);
        }
    }
}

// ---- how far news travels ----

TEST(Reach, Is_the_number_of_rounds_whose_product_has_no_zero) {
    for (const TopologyEntry& entry : topologies()) {
        const auto topology = make(entry);
        for (const std::size_t n : {2U, 3U, 6U, 11U, 16U}) {
            for (const std::uint64_t first : {0U, 5U}) {
                const std::size_t stages = stages_until_all_heard(*topology, n, first);
                const auto dense = [&](std::size_t count) {
                    const MixingMatrix all = MixingMatrix::of_rounds(*topology, n, first, count);
                    for (std::size_t i = 0; i < n; ++i) {
                        for (std::size_t j = 0; j < n; ++j) {
                            if (all(i, j) == 0) return false;
                        }
                    }
                    return true;
                };
                EXPECT_TRUE(dense(stages)) << entry.name << " " << n;
                if (stages > topology->rounds(n)) {
                    EXPECT_FALSE(dense(stages - 1)) << entry.name << " " << n;
                }
            }
        }
    }
    EXPECT_EQ(stages_until_all_heard(*make_topology("ring", {}).value(), 16, 0), 8U);
    EXPECT_EQ(stages_until_all_heard(*make_topology("full", {}).value(), 1, 0), 1U);
}

}  // namespace
}  // namespace Atoll::gossip

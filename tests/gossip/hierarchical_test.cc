// Regions: the schedule over them, and what push-sum makes of it.
#include <gtest/gtest.h>

#include "gossip/averaging/averaging.h"
#include "gossip/topology/digest.h"
#include "tests/contracts/mixing_matrix.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::gossip {
namespace {

using Sizes = std::vector<std::size_t>;

const std::vector<Sizes> kSizes = {
    {1, 1},    {1, 2},       {2, 2},     {8, 8},       {1, 7},      {5, 3},  {1, 1, 1, 1},
    {4, 4, 4}, {2, 3, 5, 7}, {1, 30, 2}, {1, 1, 1, 9}, {13, 13, 1}, {16, 1}, {3, 3, 3, 3, 3, 3}};

std::unique_ptr<Topology> hierarchical(std::int64_t interval = 1) {
    return make_topology("hierarchical", {.interval = interval}).value();
}

TEST(Hierarchical, Holds_the_mean_of_all_after_every_averaging_that_goes_across) {
    const auto topology = hierarchical();
    for (const Sizes& sizes : kSizes) {
        const Roster roster = Roster::of_sizes(sizes);
        SCOPED_TRACE(roster.n);
        EXPECT_EQ(topology->rounds(roster), 3U);
        EXPECT_EQ(topology->period(roster), 3U);
        EXPECT_TRUE(topology->exact(roster));
        EXPECT_LT(MixingMatrix::of_rounds(*topology, roster, 6, 3).distance_from_mean(), 1e-12);
    }
}

TEST(Hierarchical, Holds_the_regions_mean_after_every_averaging_and_that_of_all_after_a_period) {
    const auto topology = hierarchical(4);
    const Roster roster = Roster::of_sizes({3, 5});
    EXPECT_EQ(topology->period(roster), 12U);
    for (std::uint64_t averaging = 0; averaging < 8; ++averaging) {
        const MixingMatrix w = MixingMatrix::of_rounds(*topology, roster, 3 * averaging, 3);
        for (std::size_t i = 0; i < 8; ++i) {
            for (std::size_t j = 0; j < 8; ++j) {
                const bool same = roster.regions[i] == roster.regions[j];
                const double inside = same ? 1.0 / (i < 3 ? 3 : 5) : 0;
                EXPECT_NEAR(w(i, j), averaging % 4 == 3 ? 1.0 / 8 : inside, 1e-12) << averaging;
            }
        }
    }
    EXPECT_LT(MixingMatrix::of_rounds(*topology, roster, 12, 12).distance_from_mean(), 1e-12);
}

// What push-sum demands: mass is split completely, nobody is left without any, no message carries more than
// the mass of one member, and what one sends the other expects.
TEST(Hierarchical, Moves_mass_as_push_sum_demands) {
    const auto topology = hierarchical();
    for (const Sizes& sizes : kSizes) {
        const Roster roster = Roster::of_sizes(sizes);
        SCOPED_TRACE(roster.n);
        std::vector<double> mass(roster.n, 1);
        for (std::uint64_t round = 0; round < 3; ++round) {
            MixingMatrix sent(roster.n);
            MixingMatrix expected(roster.n);
            std::vector<double> next(roster.n, 0);
            for (std::size_t i = 0; i < roster.n; ++i) {
                const Exchange exchange = topology->exchange(roster, i, round);
                EXPECT_GT(exchange.keep, 0);
                double sum = exchange.keep;
                next[i] += exchange.keep * mass[i];
                for (const Edge& edge : exchange.send) {
                    EXPECT_EQ(sent(i, edge.member), 0) << "two messages to one member";
                    EXPECT_EQ(roster.regions[i] == roster.regions[edge.member], round != 1);
                    sent(i, edge.member) = edge.weight;
                    sum += edge.weight;
                    EXPECT_LE(edge.weight * mass[i], 1 + 1e-12);
                    next[edge.member] += edge.weight * mass[i];
                }
                EXPECT_NEAR(sum, 1, 1e-12);
                for (const Edge& edge : exchange.receive) expected(edge.member, i) = edge.weight;
            }
            EXPECT_EQ(sent, expected);
            mass = next;
        }
        for (const double at_end : mass) EXPECT_NEAR(at_end, 1, 1e-12);
    }
}

TEST(Hierarchical, Few_messages_cross) {
    const auto topology = hierarchical();
    const auto across = [&](const Sizes& sizes) {
        const Roster roster = Roster::of_sizes(sizes);
        std::size_t messages = 0;
        for (std::size_t i = 0; i < roster.n; ++i) messages += topology->exchange(roster, i, 1).send.size();
        return messages;
    };
    EXPECT_EQ(across({8, 8}), 10U);        // 128 if everybody wrote to everybody
    EXPECT_EQ(across({1, 1, 1, 1}), 12U);  // one each way
    // 7500; every exchange uses up a representative or completes a pair of regions.
    EXPECT_LE(across({25, 25, 25, 25}), 2U * (4 * 19 + 6));
}

TEST(Hierarchical, Members_without_regions_and_one_region_are_the_full_exchange) {
    const auto topology = hierarchical(3);
    const auto full = make_topology("full", {}).value();
    for (const std::size_t n : {2U, 7U}) {
        EXPECT_EQ(topology->rounds(n), 1U);
        EXPECT_EQ(topology->period(n), 1U);
        EXPECT_EQ(MixingMatrix::of(*topology, n, 5), MixingMatrix::of(*full, n, 5));
        EXPECT_EQ(Roster::of_sizes({n}), Roster(n));
    }
}

// ---- views ----

View view_of(fakes::MemoryNetwork& network, const std::vector<std::string>& regions) {
    View view{.epoch = 1, .regions = regions, .reason = "test"};
    for (std::size_t i = 0; i < network.size(); ++i) view.members.push_back(network.id(i));
    return view;
}

TEST(Hierarchical, Numbers_regions_in_the_order_of_the_members_whatever_their_labels) {
    fakes::MemoryNetwork network({.hosts = 4});
    EXPECT_EQ(Roster(view_of(network, {"b", "a", "", "b"})).regions,
              (std::vector<std::uint32_t>{0, 1, 2, 0}));
    EXPECT_TRUE(Roster(view_of(network, {"b", "b", "b", "b"})).regions.empty());
    EXPECT_TRUE(Roster(view_of(network, {})).regions.empty());
}

TEST(Hierarchical, Gives_everybody_the_exact_mean_over_push_sum) {
    fakes::MemoryNetwork network({.hosts = 7, .seed = 5, .latency_seconds = 0.01, .jitter_seconds = 0.1});
    const View view = view_of(network, {"north", "south", "north", "west", "south", "north", "north"});
    std::vector<std::vector<float>> values(7);
    for (std::size_t i = 0; i < 7; ++i) {
        network.start(i, "train", [&, i] {
            Inbox inbox(network.host(i));
            ASSERT_TRUE(network.host(i).send(network.id(i), ViewChanged{view}, {}).ok());
            ASSERT_TRUE(inbox.wait_for_members(7, 1));
            const auto topology = hierarchical();
            const auto codec = make_codec("none", {}).value();
            const auto averaging =
                make_averaging("push_sum", {network.host(i), inbox, *topology, {}}).value();
            EXPECT_EQ(averaging->stages(inbox.view()), 3U);
            for (std::uint64_t round = 0; round < 3; ++round) {
                values[i] = {static_cast<float>(i), 1.0F};
                AveragePart part{values[i], codec.get(), {}};
                const auto report = averaging->average(round, std::span(&part, 1));
                ASSERT_TRUE(report.ok());
                EXPECT_TRUE(report->complete);
                EXPECT_NEAR(report->weight, 1, 1e-12);
                EXPECT_NEAR(values[i][0], 3, 1e-6);
                EXPECT_NEAR(values[i][1], 1, 1e-6);
            }
        });
    }
    ASSERT_TRUE(network.run());
}

TEST(ScheduleDigest, Tells_other_members_from_another_schedule_for_the_same) {
    fakes::MemoryNetwork network({.hosts = 6});
    View all = view_of(network, {});
    View fewer = all;
    fewer.members.pop_back();
    View elsewhere = view_of(network, {"a", "a", "a", "b", "b", "b"});
    const auto digest = [](std::string_view name, const View& view, const TopologyOptions& options = {}) {
        return schedule_digest(*make_topology(name, options).value(), view);
    };
    for (const TopologyEntry& entry : topologies()) {
        const TopologyOptions options{.degree = std::max<std::int64_t>(entry.degree_min, 1), .seed = 3};
        const Hash ours = digest(entry.name, all, options);
        EXPECT_EQ(ours, digest(entry.name, all, options));
        EXPECT_EQ(schedule_objection(ours, ours), "");
        EXPECT_EQ(schedule_objection(ours, digest(entry.name, fewer, options)), "") << entry.name;
        EXPECT_EQ(schedule_objection(ours, digest(entry.name, elsewhere, options)), "") << entry.name;
        for (const TopologyEntry& other : topologies()) {
            if (other.name == entry.name) continue;
            const TopologyOptions theirs{.degree = std::max<std::int64_t>(other.degree_min, 1), .seed = 3};
            for (const View* view : {&all, &fewer})
                EXPECT_NE(schedule_objection(ours, digest(other.name, *view, theirs)), "") << other.name;
        }
    }
    EXPECT_NE(
        schedule_objection(digest("base_k", all, {.degree = 2}), digest("base_k", fewer, {.degree = 3})), "");
    EXPECT_NE(schedule_objection(digest("random_match", all, {.seed = 2}),
                                 digest("random_match", all, {.seed = 3})),
              "");
    EXPECT_NE(schedule_objection(digest("k_peer_exponential", all, {.rounding_up = true}),
                                 digest("k_peer_exponential", all, {.rounding_up = false})),
              "");
}

TEST(ScheduleDigest, Sees_a_weight_that_is_off_by_a_billionth) {
    HashStream one;
    HashStream other;
    HashStream same;
    hash_weight(one, 0.25);
    hash_weight(other, 0.250000001);
    hash_weight(same, 0.2500000000001);
    const Hash hash = one.finish();
    EXPECT_NE(hash, other.finish());
    EXPECT_EQ(hash, same.finish());
}

}  // namespace
}  // namespace Atoll::gossip

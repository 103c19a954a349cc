// What every entry of the table of topologies promises, for 1..64 members (1..128 where noted) and every
// degree up to 8 that it takes.
#include <gtest/gtest.h>

#include <numeric>

#include "gossip/topology/digest.h"
#include "tests/contracts/mixing_matrix.h"

namespace Atoll::gossip {
namespace {

constexpr std::size_t kMembersMax = 64;
constexpr std::int64_t kDegreeTested = 8;
constexpr TopologyOptions kOptions{.seed = 7};

class TopologyContract : public testing::TestWithParam<TopologyEntry> {
  protected:
    static std::unique_ptr<Topology> make(std::int64_t degree) {
        TopologyOptions options = kOptions;
        options.degree = degree;
        return make_topology(GetParam().name, options).value();
    }
    // Calls test(topology) for every degree the topology takes, once if it takes none.
    template <typename Test>
    static void for_each_degree(Test&& test) {
        for (std::int64_t k = std::max<std::int64_t>(GetParam().degree_min, 1);
             k <= std::max<std::int64_t>(std::min(GetParam().degree_max, kDegreeTested), 1); ++k) {
            SCOPED_TRACE("degree " + std::to_string(k));
            test(*make(k), k);
        }
    }
};

TEST_P(TopologyContract, Mass_is_split_completely_and_what_one_sends_the_other_expects) {
    for_each_degree([](const Topology& topology, std::int64_t) {
        for (std::size_t n = 1; n <= kMembersMax; ++n) {
            for (std::uint64_t round = 0; round <= topology.rounds(n) + 1; ++round) {
                MixingMatrix sent(n);
                MixingMatrix expected(n);
                for (std::size_t i = 0; i < n; ++i) {
                    const Exchange exchange = topology.exchange(n, i, round);
                    double sum = exchange.keep;
                    ASSERT_GE(exchange.keep, -1e-15);
                    for (const Edge& edge : exchange.send) {
                        ASSERT_LT(edge.member, n);
                        ASSERT_NE(edge.member, i);
                        ASSERT_GT(edge.weight, 0);
                        ASSERT_EQ(sent(i, edge.member), 0) << "two messages to one member";
                        sent(i, edge.member) = edge.weight;
                        sum += edge.weight;
                    }
                    ASSERT_NEAR(sum, 1, 1e-12) << "n " << n << " round " << round << " member " << i;
                    for (const Edge& edge : exchange.receive) expected(edge.member, i) = edge.weight;
                }
                ASSERT_EQ(sent, expected) << "n " << n << " round " << round;
            }
        }
    });
}

TEST_P(TopologyContract, Mixing_is_doubly_stochastic_with_no_more_peers_than_asked_for) {
    for_each_degree([](const Topology& topology, std::int64_t degree) {
        for (std::size_t n = 1; n <= kMembersMax; ++n) {
            for (std::uint64_t round = 0; round < topology.rounds(n); ++round) {
                const MixingMatrix w = MixingMatrix::of(topology, n, round);
                for (std::size_t i = 0; i < n; ++i) {
                    ASSERT_NEAR(w.row_sum(i), 1, 1e-12) << "n " << n << " round " << round;
                    if (GetParam().degree_max == 0) continue;
                    ASSERT_LE(topology.exchange(n, i, round).send.size(), static_cast<std::size_t>(degree));
                }
            }
        }
    });
}

TEST_P(TopologyContract, Every_member_computes_the_same_schedule_bit_for_bit) {
    for_each_degree([](const Topology& topology, std::int64_t degree) {
        const auto other = make(degree);
        EXPECT_EQ(topology.rules(), other->rules());
        for (const std::size_t n : {1U, 2U, 3U, 5U, 8U, 13U, 61U, 64U}) {
            for (std::uint64_t round = 0; round < 2 * topology.rounds(n); ++round) {
                ASSERT_EQ(MixingMatrix::of(topology, n, round), MixingMatrix::of(*other, n, round));
            }
            HashStream mine;
            HashStream theirs;
            topology.hash_schedule(n, mine);
            other->hash_schedule(n, theirs);
            EXPECT_EQ(mine.finish(), theirs.finish());
        }
    });
}

TEST_P(TopologyContract, Schedule_repeats_after_a_period_or_never) {
    for_each_degree([](const Topology& topology, std::int64_t) {
        for (const std::size_t n : {2U, 3U, 8U, 13U, 30U}) {
            ASSERT_GT(topology.rounds(n), 0U);
            const std::size_t period = topology.period(n);
            if (period == 0) {
                EXPECT_NE(MixingMatrix::of_rounds(topology, 30, 0, topology.rounds(30)),
                          MixingMatrix::of_rounds(topology, 30, topology.rounds(30), topology.rounds(30)));
                continue;
            }
            EXPECT_EQ(period % topology.rounds(n), 0U);
            for (std::uint64_t round = 0; round < period; ++round) {
                EXPECT_EQ(MixingMatrix::of(topology, n, round),
                          MixingMatrix::of(topology, n, round + 3 * period));
            }
        }
    });
}

TEST_P(TopologyContract, Every_member_reaches_every_other) {
    for_each_degree([](const Topology& topology, std::int64_t) {
        for (std::size_t n = 2; n <= kMembersMax; ++n) {
            // The union of the links of a period, or of so many rounds drawn at random that they connect all.
            const std::size_t rounds = topology.period(n) > 0 ? topology.period(n) : 8 * topology.rounds(n);
            std::vector<std::size_t> group(n);
            std::iota(group.begin(), group.end(), 0);
            const auto root = [&](std::size_t i) {
                while (group[i] != i) i = group[i];
                return i;
            };
            for (std::uint64_t round = 0; round < rounds; ++round) {
                for (std::size_t i = 0; i < n; ++i) {
                    for (const Edge& edge : topology.exchange(n, i, round).send)
                        group[root(edge.member)] = root(i);
                }
            }
            for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(root(i), root(0)) << "n " << n;
        }
    });
}

TEST_P(TopologyContract, Is_exact_if_and_only_if_one_period_yields_the_mean_for_up_to_128_members) {
    for_each_degree([](const Topology& topology, std::int64_t) {
        for (std::size_t n = 1; n <= 128; ++n) {
            const std::size_t rounds = std::max(topology.period(n), topology.rounds(n));
            // Averages start at any multiple of the period. Without one, rounds that are drawn at random can
            // yield the mean by luck, but not every time.
            double worst = 0;
            for (std::uint64_t start = 0; start < (topology.period(n) > 0 ? 1 : 8); ++start) {
                const auto all = MixingMatrix::of_rounds(topology, n, (3 + start) * rounds, rounds);
                worst = std::max(worst, all.distance_from_mean());
            }
            EXPECT_EQ(topology.exact(n), worst < 1e-12) << "n " << n << ": off by " << worst;
        }
    });
}

TEST_P(TopologyContract, Alone_there_is_nothing_to_exchange) {
    for_each_degree([](const Topology& topology, std::int64_t) {
        const Exchange exchange = topology.exchange(1, 0, 5);
        EXPECT_EQ(exchange.keep, 1);
        EXPECT_TRUE(exchange.send.empty());
        EXPECT_TRUE(exchange.receive.empty());
        EXPECT_EQ(topology.rounds(1), 0U);
        EXPECT_EQ(topology.period(1), 0U);
        EXPECT_TRUE(topology.exact(1));
    });
}

TEST_P(TopologyContract, Refuses_a_degree_out_of_its_bounds) {
    for (const std::int64_t degree : {GetParam().degree_min - 1, GetParam().degree_max + 1}) {
        TopologyOptions options = kOptions;
        options.degree = degree;
        const auto made = make_topology(GetParam().name, options);
        EXPECT_EQ(made.ok(), GetParam().degree_max == 0) << degree;
        if (made.ok()) continue;
        EXPECT_EQ(made.error().code, ErrorCode::invalid);
    }
}

INSTANTIATE_TEST_SUITE_P(Table, TopologyContract, testing::ValuesIn(topologies().begin(), topologies().end()),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(Topologies, Unknown_name_is_an_error_that_names_the_nearest) {
    const auto made = make_topology("one_peer_exponental", {});
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, ErrorCode::invalid);
    EXPECT_NE(made.error().message.find("did you mean one_peer_exponential?"), std::string::npos)
        << made.error().message;
    EXPECT_TRUE(make_topology("full", {}).ok());
}

TEST(Topologies, Bounds_of_the_options_are_named) {
    const auto lonely = make_topology("null_cascade", {.degree = 1});
    ASSERT_FALSE(lonely.ok());
    EXPECT_EQ(lonely.error().message, "topology null_cascade with degree 1: expected 2 to 63");
    const auto never = make_topology("hierarchical", {.interval = 0});
    ASSERT_FALSE(never.ok());
    EXPECT_EQ(never.error().message, "topology hierarchical with interval 0: expected at least 1");
}

}  // namespace
}  // namespace Atoll::gossip

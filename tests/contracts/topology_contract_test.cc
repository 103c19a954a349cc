// What every entry of the table of topologies promises, for 1..64 members.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "gossip/topology/topology.h"

namespace Atoll::gossip {
namespace {

constexpr std::size_t kMembersMax = 64;
using Matrix = std::vector<std::vector<double>>;

// W with x_i <- sum_j W[i][j] x_j, put together from what the members send.
Matrix mixing_matrix(const Topology& topology, std::size_t n, std::uint64_t round) {
    Matrix w(n, std::vector<double>(n, 0));
    for (std::size_t j = 0; j < n; ++j) {
        const Exchange exchange = topology.exchange(n, j, round);
        w[j][j] += exchange.keep;
        for (const Edge& edge : exchange.send) w[edge.member][j] += edge.weight;
    }
    return w;
}

Matrix product(const Matrix& a, const Matrix& b) {
    const std::size_t n = a.size();
    Matrix c(n, std::vector<double>(n, 0));
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t k = 0; k < n; ++k) {
            for (std::size_t j = 0; a[i][k] != 0 && j < n; ++j) c[i][j] += a[i][k] * b[k][j];
        }
    }
    return c;
}

class TopologyContract : public testing::TestWithParam<TopologyEntry> {
  protected:
    std::unique_ptr<Topology> topology_ = GetParam().make({.degree = 2, .seed = 7});
};

TEST_P(TopologyContract, Mass_is_split_completely_and_never_negative) {
    for (std::size_t n = 1; n <= kMembersMax; ++n) {
        for (std::uint64_t round = 0; round <= topology_->period(n) + 1; ++round) {
            for (std::size_t i = 0; i < n; ++i) {
                const Exchange exchange = topology_->exchange(n, i, round);
                double sum = exchange.keep;
                EXPECT_GE(exchange.keep, 0);
                for (const Edge& edge : exchange.send) {
                    ASSERT_LT(edge.member, n);
                    ASSERT_NE(edge.member, i);
                    EXPECT_GT(edge.weight, 0);
                    sum += edge.weight;
                }
                EXPECT_NEAR(sum, 1, 1e-12) << "n " << n << " round " << round << " member " << i;
            }
        }
    }
}

TEST_P(TopologyContract, Mixing_is_doubly_stochastic) {
    for (std::size_t n = 1; n <= kMembersMax; ++n) {
        for (std::uint64_t round = 0; round < std::max<std::size_t>(topology_->period(n), 1); ++round) {
            const Matrix w = mixing_matrix(*topology_, n, round);
            for (std::size_t i = 0; i < n; ++i) {
                EXPECT_NEAR(std::accumulate(w[i].begin(), w[i].end(), 0.0), 1, 1e-12);
            }
        }
    }
}

TEST_P(TopologyContract, What_one_member_sends_the_other_expects) {
    for (std::size_t n = 1; n <= kMembersMax; ++n) {
        for (std::uint64_t round = 0; round < topology_->period(n); ++round) {
            Matrix sent(n, std::vector<double>(n, 0));
            Matrix expected = sent;
            for (std::size_t i = 0; i < n; ++i) {
                const Exchange exchange = topology_->exchange(n, i, round);
                for (const Edge& edge : exchange.send) {
                    EXPECT_EQ(sent[i][edge.member], 0) << "two messages to one member";
                    sent[i][edge.member] = edge.weight;
                }
                for (const Edge& edge : exchange.receive) expected[edge.member][i] = edge.weight;
            }
            EXPECT_EQ(sent, expected) << "n " << n << " round " << round;
        }
    }
}

TEST_P(TopologyContract, Every_member_computes_the_same_schedule_bit_for_bit) {
    const auto other = GetParam().make({.degree = 2, .seed = 7});
    for (const std::size_t n : {1U, 2U, 3U, 5U, 8U, 13U, 64U}) {
        for (std::uint64_t round = 0; round < 2 * topology_->period(n); ++round) {
            EXPECT_EQ(mixing_matrix(*topology_, n, round), mixing_matrix(*other, n, round));
        }
    }
}

TEST_P(TopologyContract, One_period_connects_everybody) {
    for (std::size_t n = 1; n <= kMembersMax; ++n) {
        // Reachability over any number of periods: a period's union, closed under composition.
        std::vector<std::size_t> group(n);
        std::iota(group.begin(), group.end(), 0);
        const auto root = [&](std::size_t i) {
            while (group[i] != i) i = group[i];
            return i;
        };
        for (std::uint64_t round = 0; round < topology_->period(n); ++round) {
            for (std::size_t i = 0; i < n; ++i) {
                for (const Edge& edge : topology_->exchange(n, i, round).send)
                    group[root(edge.member)] = root(i);
            }
        }
        for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(root(i), root(0)) << "n " << n;
    }
}

TEST_P(TopologyContract, Is_exact_if_and_only_if_one_period_yields_the_mean) {
    for (std::size_t n = 1; n <= kMembersMax; ++n) {
        Matrix all(n, std::vector<double>(n, 0));
        for (std::size_t i = 0; i < n; ++i) all[i][i] = 1;
        // Averages start at any multiple of the period.
        const std::uint64_t start = 3 * topology_->period(n);
        for (std::uint64_t round = 0; round < topology_->period(n); ++round) {
            all = product(mixing_matrix(*topology_, n, start + round), all);
        }
        double worst = 0;
        for (const auto& row : all) {
            for (const double entry : row)
                worst = std::max(worst, std::abs(entry - 1.0 / static_cast<double>(n)));
        }
        EXPECT_EQ(topology_->exact(n), worst < 1e-12) << "n " << n << ": off by " << worst;
    }
}

TEST_P(TopologyContract, Alone_there_is_nothing_to_exchange) {
    const Exchange exchange = topology_->exchange(1, 0, 5);
    EXPECT_EQ(exchange.keep, 1);
    EXPECT_TRUE(exchange.send.empty());
    EXPECT_TRUE(exchange.receive.empty());
    EXPECT_EQ(topology_->period(1), 0U);
    EXPECT_TRUE(topology_->exact(1));
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

}  // namespace
}  // namespace Atoll::gossip

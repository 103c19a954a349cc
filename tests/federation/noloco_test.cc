// NoLoCo against its recursion in double precision, and what holds its members together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "gossip/topology/topology.h"
#include "tests/federation/member_cluster.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::QuadraticWorker;
using federation::testing::small_run;

constexpr std::size_t kDimensions = 64;
using Vector = std::vector<double>;

RunConfig noloco(const std::string& name, std::int64_t rounds) {
    RunConfig config = small_run();
    Options options;
    bind(options, config);
    EXPECT_TRUE(options.set("algorithm.name", name, "test").ok());
    config.algorithm.inner_steps = 4;
    config.run.rounds = rounds;
    EXPECT_TRUE(validate(config).ok()) << validate(config).error().message;
    return config;
}

// Members with different minima and different noise.
QuadraticWorker::Options options_of(std::size_t member) {
    return {.learning_rate = 0.05, .noise = 0.3, .minimum_seed = 1 + member, .noise_seed = 50 + member};
}

// The paper's pseudo-code once more, in double, over the mixing matrices themselves.
class Recursion {
  public:
    Recursion(const RunConfig& config, std::size_t members)
        : config_(config),
          topology_(*gossip::make_topology(
              config.topology.name,
              {.degree = config.topology.degree, .seed = static_cast<std::uint64_t>(config.run.seed)})),
          phi_(members, Vector(kDimensions)),
          m_(members, Vector(kDimensions)) {
        for (std::size_t i = 0; i < members; ++i) {
            Rng rng = Rng(options_of(i).minimum_seed).split("minimum");
            minimum_.emplace_back();
            for (std::size_t j = 0; j < kDimensions; ++j)
                minimum_.back().push_back(static_cast<double>(static_cast<float>(rng.normal())));
        }
    }
    void round(std::uint64_t t) {
        const std::size_t n = phi_.size();
        std::vector<Vector> delta(n, Vector(kDimensions));
        for (std::size_t i = 0; i < n; ++i) {
            Vector theta = phi_[i];
            for (std::int64_t h = 0; h < config_.algorithm.inner_steps; ++h) step(theta, i, t, h);
            for (std::size_t j = 0; j < kDimensions; ++j) delta[i][j] = phi_[i][j] - theta[j];
        }
        const auto old = phi_;
        for (std::size_t i = 0; i < n; ++i) {
            const gossip::Exchange exchange = topology_->exchange(n, i, t);
            for (std::size_t j = 0; j < kDimensions; ++j) {
                double mean_delta = exchange.keep * delta[i][j];
                double mean_phi = exchange.keep * old[i][j];
                for (const gossip::Edge& edge : exchange.receive) {
                    mean_delta += edge.weight * delta[edge.member][j];
                    mean_phi += edge.weight * old[edge.member][j];
                }
                m_[i][j] = config_.algorithm.outer_momentum * m_[i][j] -
                           config_.algorithm.outer_learning_rate * mean_delta +
                           config_.algorithm.consensus_rate * (mean_phi - old[i][j]);
                phi_[i][j] += m_[i][j];
            }
        }
    }
    [[nodiscard]] const std::vector<Vector>& phi() const { return phi_; }

  private:
    void step(Vector& theta, std::size_t i, std::uint64_t t, std::int64_t h) const {
        const QuadraticWorker::Options options = options_of(i);
        const std::uint64_t step =
            t * static_cast<std::uint64_t>(config_.algorithm.inner_steps) + static_cast<std::uint64_t>(h);
        for (std::size_t j = 0; j < kDimensions; ++j) {
            const double curvature = 0.1 + 0.9 * static_cast<double>(j % 10) / 9;
            Rng rng = Rng(options.noise_seed).split("noise", step).split("component", j);
            theta[j] -= options.learning_rate *
                        (curvature * (theta[j] - minimum_[i][j]) + options.noise * rng.normal());
        }
    }

    RunConfig config_;
    std::unique_ptr<gossip::Topology> topology_;
    std::vector<Vector> phi_, m_, minimum_;
};

TEST(NoLoCo, Follows_its_recursion_in_double_precision) {
    for (const char* name : {"noloco", "noloco_cascade"}) {
        for (const std::size_t members : {4UL, 7UL}) {
            const RunConfig config = noloco(name, 20);
            Cluster cluster(config, members,
                            [](std::size_t i) { return std::make_unique<QuadraticWorker>(options_of(i)); });
            ASSERT_TRUE(cluster.run_all());
            Recursion recursion(config, members);
            for (std::uint64_t t = 0; t < 20; ++t) recursion.round(t);
            for (std::size_t i = 0; i < members; ++i) {
                for (std::size_t j = 0; j < kDimensions; ++j) {
                    ASSERT_NEAR(cluster.parameters(i)[j], recursion.phi()[i][j], 5e-6)
                        << name << " member " << i << " of " << members;
                }
            }
        }
    }
}

// Whoever meets: the mean of phi over all members moves by plain momentum on the mean of all Delta.
TEST(NoLoCo, The_mean_of_all_members_follows_the_recursion_of_the_mean) {
    constexpr std::size_t kMembers = 6;
    constexpr std::size_t kRounds = 15;
    const RunConfig config = noloco("noloco", kRounds);
    Cluster cluster(config, kMembers,
                    [](std::size_t i) { return std::make_unique<QuadraticWorker>(options_of(i)); });
    std::vector<Vector> mean_phi(kRounds + 1, Vector(kDimensions));
    std::vector<Vector> mean_delta(kRounds, Vector(kDimensions));
    std::vector<std::vector<float>> phi(kMembers, std::vector<float>(kDimensions));
    for (std::size_t m = 0; m < kMembers; ++m) {
        cluster[m].record.at_step = [&, m](std::uint64_t step) {
            if (step % 4 != 0) return;
            for (std::size_t j = 0; j < kDimensions; ++j) {
                mean_delta[step / 4 - 1][j] +=
                    static_cast<double>(phi[m][j] - cluster.parameters(m)[j]) / kMembers;
            }
        };
        cluster[m].record.at_round = [&, m](const RoundReport& report, Algorithm&) {
            for (std::size_t j = 0; j < kDimensions; ++j) {
                phi[m][j] = cluster.parameters(m)[j];
                mean_phi[report.round][j] += static_cast<double>(phi[m][j]) / kMembers;
            }
        };
    }
    ASSERT_TRUE(cluster.run_all());
    Vector m(kDimensions);
    for (std::size_t r = 0; r < kRounds; ++r) {
        for (std::size_t j = 0; j < kDimensions; ++j) {
            m[j] = 0.5 * m[j] - 0.7 * mean_delta[r][j];
            ASSERT_NEAR(mean_phi[r + 1][j], mean_phi[r][j] + m[j], 1e-6) << "round " << r;
        }
    }
}

// Disagreement alone (no gradients): starts with independent phi and ends so many times larger.
double growth(const gossip::Topology& topology, std::size_t n, double a, double g, int rounds) {
    Rng rng(5);
    std::vector<double> phi(n);
    std::vector<double> m(n);
    for (double& x : phi) x = rng.normal();
    const auto spread = [&] {
        double mean = 0;
        double sum = 0;
        for (const double x : phi) mean += x / static_cast<double>(n);
        for (const double x : phi) sum += (x - mean) * (x - mean);
        return std::sqrt(sum);
    };
    const double start = spread();
    for (int t = 0; t < rounds; ++t) {
        const std::vector<double> old = phi;
        for (std::size_t i = 0; i < n; ++i) {
            const gossip::Exchange exchange = topology.exchange(n, i, static_cast<std::uint64_t>(t));
            double mean = exchange.keep * old[i];
            for (const gossip::Edge& edge : exchange.receive) mean += edge.weight * old[edge.member];
            m[i] = a * m[i] + g * (mean - old[i]);
            phi[i] += m[i];
        }
    }
    return spread() / start;
}

// The bound that check() holds settings to: g < 2 (1 - a^2) where many meet in random pairs.
TEST(NoLoCo, Random_pairs_stay_together_up_to_the_bound_and_not_beyond) {
    const auto pairs = *gossip::make_topology("random_match", {.seed = 3});
    for (const double a : {0.0, 0.5, 0.8}) {
        const double bound = 2 * (1 - a * a);
        EXPECT_LT(growth(*pairs, 1000, a, 0.9 * bound, 700), 1e-2) << a;
        EXPECT_GT(growth(*pairs, 1000, a, 1.1 * bound, 700), 1e2) << a;
    }
}

// A schedule that repeats resonates with the momentum where random pairs would not.
TEST(NoLoCo, Null_cascade_rounds_hold_any_number_of_members_together_up_to_their_own_bound) {
    const auto cascade = *gossip::make_topology("null_cascade", {.degree = 2});
    EXPECT_GT(growth(*cascade, 8, 0.5, 1.45, 400), 1e2);
    for (std::size_t n = 2; n <= 64; ++n) {
        for (const double a : {0.0, 0.3, 0.5, 0.7}) {
            const double bound = std::min(1.5 * (1 - a), 3 * (1 - a) * (1 - a));
            EXPECT_LT(growth(*cascade, n, a, bound, 600), 0.1) << n << " members, a = " << a;
        }
    }
}

}  // namespace
}  // namespace Atoll::federation

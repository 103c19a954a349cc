// SPARTA: which parameters are averaged, how often, and that it keeps the members together.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tests/federation/member_cluster.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::distance;
using federation::testing::QuadraticWorker;
using federation::testing::small_run;

constexpr std::size_t kMembers = 3;
constexpr std::size_t kParameters = 640;

RunConfig sparta(double fraction, std::int64_t rounds) {
    RunConfig config = small_run();
    Options options;
    bind(options, config);
    EXPECT_TRUE(options.set("algorithm.name", "sparta", "test").ok());
    config.algorithm.averaged_fraction = fraction;
    config.run.rounds = rounds;
    EXPECT_TRUE(validate(config).ok()) << validate(config).error().message;
    return config;
}

Cluster::MakeWorker workers(double noise = 0.5) {
    return [noise](std::size_t i) {
        return std::make_unique<QuadraticWorker>(
            QuadraticWorker::Options{.parameters = kParameters, .noise = noise, .noise_seed = 100 + i});
    };
}

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

// In every round the same places change at every member, to the mean there; all others stay as the step left
// them.
TEST(Sparta, Averages_its_fraction_at_the_same_places_everywhere_and_each_place_equally_often) {
    constexpr std::int64_t kRounds = 400;
    constexpr std::size_t kPlaces = 32;  // 0.05 of 640
    Cluster cluster(sparta(0.05, kRounds), kMembers, workers());
    std::map<std::uint64_t, std::map<std::size_t, std::vector<float>>> stepped, averaged;
    for (std::size_t m = 0; m < kMembers; ++m) {
        cluster[m].record.at_step = [&, m](std::uint64_t step) {
            stepped[step][m] = copy(cluster.parameters(m));
        };
        cluster[m].record.at_round = [&, m](const RoundReport& report, Algorithm&) {
            averaged[report.round][m] = copy(cluster.parameters(m));
        };
    }
    ASSERT_TRUE(cluster.run_all());
    std::vector<int> drawn(kParameters);
    for (std::uint64_t round = 1; round <= kRounds; ++round) {
        auto& before = stepped[round];
        auto& after = averaged[round];
        std::size_t places = 0;
        for (std::size_t i = 0; i < kParameters; ++i) {
            double mean = 0;
            std::size_t changed = 0;
            for (std::size_t m = 0; m < kMembers; ++m) {
                mean += static_cast<double>(before[m][i]) / kMembers;
                changed += before[m][i] != after[m][i] ? 1U : 0U;
            }
            if (changed == 0) continue;
            ++places;
            ++drawn[i];
            for (std::size_t m = 0; m < kMembers; ++m) ASSERT_NEAR(after[m][i], mean, 1e-6) << round;
        }
        ASSERT_EQ(places, kPlaces) << round;
    }
    // Binomial(400, 0.05): mean 20, standard deviation 4.4; chi-square over 640 places within 5 deviations.
    double chi_square = 0;
    for (const int count : drawn) chi_square += (count - 20.0) * (count - 20.0) / (20 * 0.95);
    EXPECT_NEAR(chi_square, 640, 5 * std::sqrt(2.0 * 640));
    for (const RoundReport& report : cluster[0].record.rounds) {
        ASSERT_EQ(report.average.bytes_sent, (kMembers - 1) * kPlaces * sizeof(float));
    }
}

TEST(Sparta, All_parameters_averaged_in_every_step_is_training_with_the_batches_together) {
    Cluster cluster(sparta(1, 20), kMembers, workers());
    ASSERT_TRUE(cluster.run_all());
    QuadraticWorker together({.parameters = kParameters, .noise = 0.5, .noise_seed = 100, .batch = kMembers});
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(together.inner_step().ok());
    for (std::size_t m = 0; m < kMembers; ++m) {
        for (std::size_t i = 0; i < kParameters; ++i) {
            ASSERT_NEAR(cluster.parameters(m)[i], together.parameters()[i], 1e-6);
        }
    }
}

TEST(Sparta, Holds_members_together_that_alone_would_wander) {
    Cluster cluster(sparta(0.05, 400), kMembers, workers());
    ASSERT_TRUE(cluster.run_all());
    std::vector<std::unique_ptr<Worker>> alone;
    for (std::size_t m = 0; m < 2; ++m) {
        alone.push_back(workers()(m));
        for (int i = 0; i < 400; ++i) ASSERT_TRUE(alone.back()->inner_step().ok());
    }
    EXPECT_LT(distance(cluster.parameters(0), cluster.parameters(1)),
              0.8 * distance(alone[0]->parameters(), alone[1]->parameters()));
}

}  // namespace
}  // namespace Atoll::federation

// SparseLoCo: what is really sent, and its algorithm 1 recomputed from the states between two rounds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/federation/member_cluster.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::QuadraticWorker;
using federation::testing::small_run;

constexpr std::size_t kMembers = 3;
constexpr std::size_t kChunk = 4096;
constexpr std::size_t kParameters = 8 * kChunk;

RunConfig sparseloco(std::int64_t rounds) {
    RunConfig config = small_run();
    Options options;
    bind(options, config);
    EXPECT_TRUE(options.set("algorithm.name", "sparseloco", "test").ok());
    config.algorithm.inner_steps = 2;
    config.run.rounds = rounds;
    EXPECT_TRUE(validate(config).ok()) << validate(config).error().message;
    return config;
}

Cluster::MakeWorker workers() {
    return [](std::size_t i) {
        return std::make_unique<QuadraticWorker>(
            QuadraticWorker::Options{.parameters = kParameters, .noise = 0.2, .noise_seed = 100 + i});
    };
}

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

TEST(SparseLoCo, Sends_0_219_bits_a_parameter_and_round_to_each_member) {
    constexpr std::int64_t kRounds = 3;
    constexpr double kBits = 64 * 14 / 4096.0;  // of 4096 values 64, each with a place of 12 bits and 2 bits
    Cluster cluster(sparseloco(kRounds), kMembers, workers());
    std::size_t payload = 0;
    std::size_t all = 0;
    cluster.network().set_hook([&](const fakes::MemoryNetwork::Departure& departure) {
        if (std::holds_alternative<gossip::MixShare>(departure.body)) payload += departure.payload_bytes;
        all += fakes::MemoryNetwork::message_bytes(departure.body, departure.payload_bytes);
        return fakes::MemoryNetwork::Fate{0};
    });
    ASSERT_TRUE(cluster.run_all());
    const double deliveries = static_cast<double>(kRounds * kMembers * (kMembers - 1) * kParameters);
    EXPECT_NEAR(static_cast<double>(payload) * 8 / deliveries, kBits, 0.03 * kBits);
    // Headers, receipts and everything else included: they do not grow with the model.
    EXPECT_LT(static_cast<double>(all - payload), 1024.0 * kRounds * kMembers * kMembers);
    std::uint64_t reported = 0;
    for (std::size_t m = 0; m < kMembers; ++m) {
        for (const RoundReport& report : cluster[m].record.rounds) reported += report.average.bytes_sent;
    }
    EXPECT_EQ(reported, payload);
}

// a = beta e + Delta is what is sent plus what stays, to the bit; what is sent are the 64 largest of every
// 4096 at two magnitudes for every four of those; Theta moves by the mean over all members.
TEST(SparseLoCo, Follows_algorithm_1) {
    struct Before {
        std::vector<float> anchor, error, inner;
    };
    constexpr std::int64_t kRounds = 4;
    const RunConfig config = sparseloco(kRounds);
    Cluster cluster(config, kMembers, workers());
    std::vector<Before> before(kMembers);
    std::vector<std::vector<std::vector<float>>> sent(kRounds);  // by round and member
    std::vector<std::vector<double>> moved(kRounds);             // of member 0's Theta
    for (std::size_t m = 0; m < kMembers; ++m) {
        before[m] = {std::vector<float>(kParameters), std::vector<float>(kParameters), {}};
        cluster[m].record.at_step = [&, m](std::uint64_t step) {
            if (step % 2 == 0) before[m].inner = copy(cluster.parameters(m));
        };
        cluster[m].record.at_round = [&, m](const RoundReport& report, Algorithm& algorithm) {
            std::vector<float> anchor, error;
            for (const StateVector& vector : algorithm.state()) {
                if (vector.name == "anchor") anchor = copy(vector.values);
                if (vector.name == "residual.0") error = copy(vector.values);
            }
            ASSERT_EQ(error.size(), kParameters);
            std::vector<float> dhat(kParameters);
            for (std::size_t i = 0; i < kParameters; ++i) {
                const float a = 0.95F * before[m].error[i] + (before[m].anchor[i] - before[m].inner[i]);
                dhat[i] = a - error[i];
                ASSERT_EQ(error[i] + dhat[i], a);
            }
            sent[report.round - 1].push_back(dhat);
            if (m == 0) {
                for (std::size_t i = 0; i < kParameters; ++i) {
                    moved[report.round - 1].push_back(static_cast<double>(before[m].anchor[i]) -
                                                      static_cast<double>(anchor[i]));
                }
            }
            before[m].anchor = anchor;
            before[m].error = error;
        };
    }
    ASSERT_TRUE(cluster.run_all());
    for (std::size_t r = 0; r < kRounds; ++r) {
        ASSERT_EQ(sent[r].size(), kMembers);
        for (const auto& dhat : sent[r]) {
            for (std::size_t begin = 0; begin < kParameters; begin += kChunk) {
                const auto chunk = std::span(dhat).subspan(begin, kChunk);
                EXPECT_EQ(std::ranges::count_if(chunk, [](float x) { return x != 0; }), 64);
            }
            for (std::size_t begin = 0; begin < kParameters; begin += 4 * kChunk) {
                std::set<float> magnitudes;
                for (const float x : std::span(dhat).subspan(begin, 4 * kChunk)) {
                    if (x != 0) magnitudes.insert(std::abs(x));
                }
                EXPECT_EQ(magnitudes.size(), 2U);
            }
        }
        for (std::size_t i = 0; i < kParameters; ++i) {
            double mean = 0;
            for (const auto& dhat : sent[r]) mean += static_cast<double>(dhat[i]) / kMembers;
            ASSERT_NEAR(moved[r][i], mean, 1e-6) << r;
        }
    }
    for (std::size_t m = 1; m < kMembers; ++m) EXPECT_EQ(before[m].anchor, before[0].anchor);
}

// What stays behind is always smaller than what is sent.
TEST(SparseLoCo, The_largest_of_every_chunk_are_sent) {
    Cluster cluster(sparseloco(1), 2, workers());
    std::vector<float> inner, error;
    cluster[0].record.at_step = [&](std::uint64_t) { inner = copy(cluster.parameters(0)); };
    cluster[0].record.at_round = [&](const RoundReport&, Algorithm& algorithm) {
        for (const StateVector& vector : algorithm.state()) {
            if (vector.name == "residual.0") error = copy(vector.values);
        }
    };
    ASSERT_TRUE(cluster.run_all());
    ASSERT_EQ(error.size(), kParameters);
    for (std::size_t begin = 0; begin < kParameters; begin += kChunk) {
        float least_sent = 1e9F;
        float most_kept = 0;
        for (std::size_t i = begin; i < begin + kChunk; ++i) {
            const float a = -inner[i];  // Theta was zero
            (error[i] == a ? most_kept : least_sent) =
                error[i] == a ? std::max(most_kept, std::abs(a)) : std::min(least_sent, std::abs(a));
        }
        EXPECT_GE(least_sent, most_kept) << begin;
    }
}

}  // namespace
}  // namespace Atoll::federation

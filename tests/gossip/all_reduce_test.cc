// The all-reduce: values, bits, bytes and shares, in virtual time.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "gossip/averaging/averaging.h"
#include "gossip/averaging/shares.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::gossip {
namespace {

using fakes::MemoryNetwork;
using Vectors = std::vector<std::vector<float>>;

Vectors random_vectors(std::size_t n, std::size_t count) {
    Rng rng(n * 1000 + count);
    Vectors vectors(n, std::vector<float>(count));
    for (auto& vector : vectors) {
        for (float& value : vector) value = static_cast<float>(rng.normal());
    }
    return vectors;
}

std::vector<AverageReport> all_reduce(Vectors& vectors, const Codec& codec) {
    MemoryNetwork network({.hosts = vectors.size()});
    std::vector<AverageReport> reports(vectors.size());
    for (std::size_t i = 0; i < vectors.size(); ++i) {
        network.start(i, "average", [&, i] {
            Inbox inbox(network.host(i));
            ASSERT_TRUE(inbox.wait_for_members(vectors.size(), 1));
            const auto topology = make_topology("full", {}).value();
            const auto scheme = make_averaging("all_reduce", {network.host(i), inbox, *topology, {}}).value();
            AveragePart part{vectors[i], &codec, {}};
            auto report = scheme->average(3, std::span(&part, 1));
            ASSERT_TRUE(report.ok()) << report.error().message;
            reports[i] = *report;
        });
    }
    network.announce_members("start");
    EXPECT_TRUE(network.run());
    return reports;
}

TEST(AllReduce, Is_the_mean_for_every_number_of_members_and_length) {
    const auto codec = make_codec("none", {}).value();
    for (const std::size_t n : {1U, 2U, 3U, 5U, 8U}) {
        for (const std::size_t count : {0U, 1U, 2U, 7U, 1001U}) {
            Vectors vectors = random_vectors(n, count);
            const Vectors input = vectors;
            for (const AverageReport& report : all_reduce(vectors, *codec)) {
                EXPECT_TRUE(report.complete) << n << " " << count;
                EXPECT_EQ(report.weight, 1);
            }
            for (std::size_t i = 0; i < count; ++i) {
                double mean = 0;
                for (const auto& vector : input) mean += double{vector[i]} / double(n);
                for (const auto& vector : vectors) ASSERT_NEAR(vector[i], mean, 1e-6);
            }
        }
    }
}

TEST(AllReduce, All_copies_are_bit_identical_with_every_codec) {
    for (const CodecEntry& entry : codecs()) {
        const auto codec = entry.make({});
        Vectors vectors = random_vectors(5, 3000);
        const Vectors input = vectors;
        for (const AverageReport& report : all_reduce(vectors, *codec)) EXPECT_TRUE(report.complete);
        EXPECT_NE(vectors[0], input[0]) << entry.name;
        for (const auto& vector : vectors)
            EXPECT_EQ(std::memcmp(vector.data(), vectors[0].data(), 3000 * sizeof(float)), 0) << entry.name;
    }
}

TEST(AllReduce, Sends_two_times_n_minus_one_nths_of_the_vector) {
    const auto codec = make_codec("none", {}).value();
    for (const std::size_t n : {2U, 4U, 8U}) {
        Vectors vectors = random_vectors(n, 4096);
        for (const AverageReport& report : all_reduce(vectors, *codec))
            EXPECT_EQ(report.bytes_sent, 2 * (n - 1) * 4096 * sizeof(float) / n);
    }
}

TEST(AllReduce, Sends_the_pieces_of_others_once_and_its_own_to_everybody_in_every_codec) {
    for (const CodecEntry& entry : codecs()) {
        const auto codec = entry.make({});
        for (const std::size_t n : {2U, 4U}) {
            const std::size_t count = n << 13U;
            Vectors vectors = random_vectors(n, count);
            const std::size_t piece = codec->encoded_bytes(count / n);
            for (const AverageReport& report : all_reduce(vectors, *codec))
                EXPECT_EQ(report.bytes_sent, (n - 1) * piece + (n - 1) * piece) << entry.name;
        }
    }
}

TEST(AllReduce, Several_pieces_of_each_owner) {
    const auto codec = make_codec("int8_block", {}).value();
    Vectors vectors = random_vectors(2, (1U << 20U) + 77);
    for (const AverageReport& report : all_reduce(vectors, *codec)) EXPECT_TRUE(report.complete);
    EXPECT_EQ(vectors[0], vectors[1]);
}

double slowest(std::span<const double> bandwidths, const std::vector<double>& shares) {
    double time = 0;
    for (std::size_t i = 0; i < shares.size(); ++i)
        time = std::max(time, (1 + double(shares.size() - 2) * shares[i]) / bandwidths[i]);
    return time;
}

TEST(AllReduce, No_shares_on_a_grid_are_faster_than_those_by_bandwidth) {
    Rng rng(5);
    for (int trial = 0; trial < 50; ++trial) {
        std::vector<double> bandwidths(4);
        for (double& bandwidth : bandwidths) bandwidth = std::exp(2 * rng.normal());
        const std::vector<std::uint32_t> units = reduce_shares(bandwidths, 1U << 20U);
        EXPECT_EQ(std::accumulate(units.begin(), units.end(), 0U), 1U << 20U);
        const double ours = slowest(
            bandwidths, {units[0] * 0x1p-20, units[1] * 0x1p-20, units[2] * 0x1p-20, units[3] * 0x1p-20});
        double best = 1e300;
        for (int a = 0; a <= 40; ++a) {
            for (int b = 0; a + b <= 40; ++b) {
                for (int c = 0; a + b + c <= 40; ++c)
                    best = std::min(
                        best, slowest(bandwidths, {a / 40.0, b / 40.0, c / 40.0, (40 - a - b - c) / 40.0}));
            }
        }
        EXPECT_LE(ours, best * (1 + 1e-4));
    }
    const double slow[] = {1, 100, 100, 100};
    EXPECT_EQ(reduce_shares(slow, 3000), (std::vector<std::uint32_t>{0, 1000, 1000, 1000}));
    const double unknown[] = {0, 0, 0, 0};
    EXPECT_EQ(reduce_shares(unknown, 4096), std::vector<std::uint32_t>(4, 1024));
}

}  // namespace
}  // namespace Atoll::gossip

// What every entry of the table of averaging schemes promises, over every topology, in virtual time.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "gossip/averaging/averaging.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::gossip {
namespace {

using fakes::MemoryNetwork;
using Vectors = std::vector<std::vector<float>>;

Vectors random_vectors(std::size_t n, std::size_t count, std::uint64_t seed) {
    Rng rng(seed);
    Vectors vectors(n, std::vector<float>(count));
    for (auto& vector : vectors) {
        for (float& value : vector) value = static_cast<float>(rng.normal());
    }
    return vectors;
}

std::vector<double> mean_of(const Vectors& vectors) {
    std::vector<double> mean(vectors[0].size(), 0);
    for (const auto& vector : vectors) {
        for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += double{vector[i]} / double(vectors.size());
    }
    return mean;
}

struct Case {
    const AveragingEntry* averaging;
    const TopologyEntry* topology;
};

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const AveragingEntry& averaging : averagings()) {
        for (const TopologyEntry& topology : topologies()) all.push_back({&averaging, &topology});
    }
    return all;
}

class AveragingContract : public testing::TestWithParam<Case> {
  protected:
    struct Outcome {
        std::vector<AverageReport> reports;
        std::vector<std::uint64_t> traffic;
    };

    // Everybody averages `vectors` (each cut into two parts) once; results in place.
    Outcome average(Vectors& vectors, const Codec& codec, MemoryNetwork::Options options = {}) const {
        options.hosts = vectors.size();
        MemoryNetwork network(options);
        Outcome outcome{std::vector<AverageReport>(vectors.size()),
                        std::vector<std::uint64_t>(vectors.size())};
        for (std::size_t i = 0; i < vectors.size(); ++i) {
            network.start(i, "average", [&, i] {
                Inbox inbox(network.host(i));
                ASSERT_TRUE(inbox.wait_for_members(vectors.size(), 1));
                const auto scheme = GetParam().averaging->make({network.host(i), inbox, *topology_, {}});
                const std::span<float> all = vectors[i];
                AveragePart parts[] = {{all.first(all.size() / 3), &codec, {}},
                                       {all.subspan(all.size() / 3), &codec, {}}};
                auto report = scheme->average(4, parts);
                ASSERT_TRUE(report.ok()) << report.error().message;
                outcome.reports[i] = *report;
                outcome.traffic[i] = network.host(i).traffic().bytes_sent;
            });
        }
        network.announce_members("start");
        EXPECT_TRUE(network.run());
        return outcome;
    }

    // Robust schemes promise no mean: tests/gossip/robust_test.cc has what they promise instead.
    [[nodiscard]] static bool robust() { return GetParam().averaging->robust; }

    std::unique_ptr<Topology> topology_ = GetParam().topology->make({.degree = 2, .seed = 3});
    std::unique_ptr<Codec> exact_codec_ = make_codec("none", {}).value();
};

TEST_P(AveragingContract, Everybody_present_gives_the_mean_where_the_topology_is_exact) {
    for (std::size_t n = 2; n <= 17; ++n) {
        Vectors vectors = random_vectors(n, 37, n);
        const std::vector<double> mean = mean_of(vectors);
        const Outcome outcome = average(vectors, *exact_codec_);
        for (std::size_t m = 0; m < n; ++m) {
            EXPECT_TRUE(outcome.reports[m].complete);
            EXPECT_TRUE(outcome.reports[m].reasons.empty());
            EXPECT_NEAR(outcome.reports[m].weight, 1, 1e-12);
            EXPECT_EQ(outcome.reports[m].members, n);
            for (std::size_t i = 0; !robust() && topology_->exact(n) && i < mean.size(); ++i) {
                ASSERT_NEAR(vectors[m][i], mean[i], 1e-6) << "n " << n << " member " << m;
            }
        }
        const std::vector<double> mean_after = mean_of(vectors);
        for (std::size_t i = 0; !robust() && i < mean.size(); ++i)
            ASSERT_NEAR(mean_after[i], mean[i], 1e-6) << "mass is conserved";
    }
}

TEST_P(AveragingContract, The_mean_of_what_everybody_sends_is_conserved_by_every_codec) {
    for (const CodecEntry& entry : codecs()) {
        if (entry.error_max >= 1 || robust()) continue;  // bounds no single value
        const auto codec = entry.make({});
        const std::size_t n = 6;
        Vectors vectors = random_vectors(n, 600, 5);
        const std::vector<double> mean = mean_of(vectors);
        (void)average(vectors, *codec);
        const std::vector<double> mean_after = mean_of(vectors);
        // Without error feedback each stage rounds each estimate once, and everybody sees the same rounded
        // numbers.
        const double bound =
            4.5 * entry.error_max * double(std::max<std::size_t>(topology_->rounds(n), 1)) + 1e-6;
        for (std::size_t i = 0; i < mean.size(); ++i)
            ASSERT_NEAR(mean_after[i], mean[i], bound) << entry.name;
    }
}

TEST_P(AveragingContract, Equal_inputs_stay_as_they_are) {
    for (const std::size_t n : {2U, 3U, 4U, 7U}) {
        Vectors vectors(n, random_vectors(1, 100, 9)[0]);
        const std::vector<float> input = vectors[0];
        (void)average(vectors, *exact_codec_);
        for (const auto& vector : vectors) {
            for (std::size_t i = 0; i < input.size(); ++i)
                ASSERT_NEAR(vector[i], input[i], 1e-6 * std::abs(input[i]));
        }
    }
}

TEST_P(AveragingContract, Alone_nothing_is_sent_and_nothing_changes) {
    Vectors vectors = random_vectors(1, 100, 9);
    const Vectors input = vectors;
    const auto codec = make_codec("int4_block", {}).value();
    const Outcome outcome = average(vectors, *codec);
    EXPECT_EQ(vectors, input);
    EXPECT_EQ(outcome.traffic[0], 0U);
    EXPECT_EQ(outcome.reports[0].bytes_sent, 0U);
    EXPECT_EQ(outcome.reports[0].weight, 1);
    EXPECT_TRUE(outcome.reports[0].complete);
}

TEST_P(AveragingContract, Order_of_arrival_does_not_change_a_bit) {
    for (const std::size_t n : {4U, 5U, 8U}) {
        Vectors first = random_vectors(n, 300, 1);
        Vectors later = first;
        const auto codec = make_codec("int8_block", {}).value();
        (void)average(first, *codec, {.seed = 1, .jitter_seconds = 0});
        for (std::uint64_t seed = 2; seed < 8; ++seed) {
            Vectors again = later;
            (void)average(again, *codec, {.seed = seed, .jitter_seconds = 3});
            for (std::size_t m = 0; m < n; ++m) {
                ASSERT_EQ(std::memcmp(again[m].data(), first[m].data(), 300 * sizeof(float)), 0);
            }
        }
    }
}

TEST_P(AveragingContract, Bytes_are_encoded_parts_times_receivers) {
    // Their formulas: tests/gossip/all_reduce_test.cc, tests/gossip/star_test.cc.
    if (GetParam().averaging->name == "all_reduce" || GetParam().averaging->name == "star") return;
    for (const CodecEntry& entry : codecs()) {
        const auto codec = entry.make({});
        const std::size_t n = 6;
        const std::size_t count = 1000;
        Vectors vectors = random_vectors(n, count, 2);
        const Outcome outcome = average(vectors, *codec);
        for (std::size_t m = 0; m < n; ++m) {
            std::uint64_t bytes = 0;
            for (std::size_t stage = 0; stage < topology_->rounds(n); ++stage) {
                bytes += topology_->exchange(n, m, stage).send.size() *
                         (codec->encoded_bytes(count / 3) + codec->encoded_bytes(count - count / 3));
            }
            EXPECT_EQ(outcome.reports[m].bytes_sent, bytes) << entry.name;
            EXPECT_GE(outcome.traffic[m], bytes);
        }
    }
}

TEST_P(AveragingContract, A_member_lost_after_any_message_leaves_a_reason_within_the_deadline) {
    constexpr std::size_t kMembers = 5;
    constexpr double kDeadline = 8;
    for (const std::size_t victim : {0U, 2U, 4U}) {
        for (const std::size_t after : {0U, 1U, 2U, 3U, 5U, 8U}) {
            SCOPED_TRACE(testing::Message() << "member " << victim << " after message " << after);
            MemoryNetwork network({.hosts = kMembers});
            std::size_t sent = 0;
            network.set_hook([&](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
                if (departure.from == victim) ++sent;
                const bool gone = sent > after && (departure.from == victim || departure.to == victim);
                return gone ? MemoryNetwork::Fate{} : MemoryNetwork::Fate{0.0};
            });
            Vectors vectors = random_vectors(kMembers, 60, 3);
            std::string reasons;
            for (std::size_t m = 0; m < kMembers; ++m) {
                network.start(m, "average", [&, m] {
                    Inbox inbox(network.host(m));
                    ASSERT_TRUE(inbox.wait_for_members(kMembers, 1));
                    const auto scheme = GetParam().averaging->make(
                        {network.host(m), inbox, *topology_, {.deadline_seconds = kDeadline}});
                    AveragePart part{vectors[m], exact_codec_.get(), {}};
                    const double start = network.now();
                    const auto report = scheme->average(4, std::span(&part, 1));
                    ASSERT_TRUE(report.ok()) << report.error().message;
                    EXPECT_LE(network.now() - start, kDeadline * double(scheme->stages(kMembers)) * 1.01);
                    if (m == victim) return;
                    EXPECT_TRUE(report->complete || !report->reasons.empty());
                    for (const std::string& reason : report->reasons) reasons += reason + "\n";
                });
            }
            network.announce_members("start");
            ASSERT_TRUE(network.run());
            if (after == 0) {
                EXPECT_NE(reasons.find(network.id(victim).short_name()), std::string::npos) << reasons;
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Table, AveragingContract, testing::ValuesIn(cases()), [](const auto& tested) {
    return std::string(tested.param.averaging->name) + "_over_" + std::string(tested.param.topology->name);
});

TEST(Averagings, Unknown_name_is_an_error_that_names_the_nearest) {
    MemoryNetwork network({.hosts = 1});
    Inbox inbox(network.host(0));
    const auto topology = make_topology("full", {}).value();
    const auto made = make_averaging("push_sun", {network.host(0), inbox, *topology, {}});
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, ErrorCode::invalid);
    EXPECT_NE(made.error().message.find("did you mean push_sum?"), std::string::npos) << made.error().message;
}

}  // namespace
}  // namespace Atoll::gossip

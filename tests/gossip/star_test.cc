// Averaging around a server: values, bits, bytes and faults, in virtual time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "gossip/averaging/averaging.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::gossip {
namespace {

using fakes::MemoryNetwork;
using testing::Contains;
using testing::HasSubstr;
using Vectors = std::vector<std::vector<float>>;

constexpr double kDeadline = 8;

Vectors random_vectors(std::size_t n, std::size_t count) {
    Rng rng(n * 1000 + count);
    Vectors vectors(n, std::vector<float>(count));
    for (auto& vector : vectors) {
        for (float& value : vector) value = static_cast<float>(rng.normal());
    }
    return vectors;
}

struct Meeting {
    Vectors vectors;
    std::string codec = "none";
    std::size_t rounds = 1;
    AveragingOptions options = {.deadline_seconds = kDeadline};
    std::vector<std::vector<AverageReport>> reports = {};  // by member, round
};

void average(MemoryNetwork& network, Meeting& meeting) {
    meeting.reports.resize(meeting.vectors.size());
    for (std::size_t i = 0; i < meeting.vectors.size(); ++i) {
        network.start(i, "average", [&, i] {
            Inbox inbox(network.host(i));
            (void)inbox.wait_for_members(meeting.vectors.size(), 1);
            const auto topology = make_topology("full", {}).value();
            const auto codec = make_codec(meeting.codec, {}).value();
            const auto star =
                make_averaging("star", {network.host(i), inbox, *topology, meeting.options}).value();
            for (std::uint64_t round = 0; round < meeting.rounds; ++round) {
                AveragePart part{meeting.vectors[i], codec.get(), {}};
                const double start = network.now();
                auto report = star->average(round, std::span(&part, 1));
                EXPECT_LE(network.now() - start, kDeadline * 1.01);
                if (!report.ok()) return;  // killed
                meeting.reports[i].push_back(*report);
            }
        });
    }
    network.announce_members("start");
    EXPECT_TRUE(network.run());
}

std::vector<double> mean_of(const Vectors& vectors) {
    std::vector<double> mean(vectors[0].size());
    for (const auto& vector : vectors) {
        for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += double{vector[i]} / double(vectors.size());
    }
    return mean;
}

TEST(Star, Is_the_mean_with_the_same_bits_everywhere_for_every_codec) {
    for (const CodecEntry& entry : codecs()) {
        for (const std::size_t count : {0U, 1U, 7U, 3000U}) {
            MemoryNetwork network({.hosts = 5});
            Meeting meeting{random_vectors(5, count), std::string(entry.name)};
            const std::vector<double> mean = mean_of(meeting.vectors);
            average(network, meeting);
            for (std::size_t m = 0; m < 5; ++m) {
                EXPECT_TRUE(meeting.reports[m][0].complete) << entry.name;
                EXPECT_EQ(meeting.reports[m][0].weight, 1);
                EXPECT_EQ(meeting.vectors[m], meeting.vectors[0]) << entry.name << " " << count;
                for (std::size_t i = 0; entry.name == "none" && i < count; ++i)
                    ASSERT_NEAR(meeting.vectors[m][i], mean[i], 1e-6);
            }
        }
    }
}

TEST(Star, A_member_sends_its_parts_once_and_the_server_the_mean_to_each_of_the_others) {
    for (const CodecEntry& entry : codecs()) {
        MemoryNetwork network({.hosts = 6});
        Meeting meeting{random_vectors(6, 1000), std::string(entry.name)};
        average(network, meeting);
        const std::uint64_t bytes = entry.make({})->encoded_bytes(1000);
        for (std::size_t m = 0; m < 6; ++m)
            EXPECT_EQ(meeting.reports[m][0].bytes_sent, (m == 0 ? 5 : 1) * bytes) << entry.name;
    }
}

TEST(Star, A_third_of_the_messages_may_be_lost_and_others_come_twice) {
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        MemoryNetwork network({.hosts = 4, .seed = seed});
        Rng fate(seed);
        network.set_hook([&](const MemoryNetwork::Departure&) -> MemoryNetwork::Fate {
            const double u = fate.uniform();
            if (u < 0.3) return {};
            if (u < 0.5) return {0.0, 0.7};
            return {0.0};
        });
        Meeting meeting{random_vectors(4, 9), "none", 5};
        const std::vector<double> mean = mean_of(meeting.vectors);
        average(network, meeting);
        std::size_t incomplete = 0;
        for (std::size_t m = 0; m < 4; ++m) {
            ASSERT_EQ(meeting.reports[m].size(), 5U);
            for (const AverageReport& report : meeting.reports[m]) {
                incomplete += report.complete ? 0 : 1;
                EXPECT_EQ(report.complete, report.reasons.empty());
            }
            for (std::size_t i = 0; incomplete == 0 && i < mean.size(); ++i)
                ASSERT_NEAR(meeting.vectors[m][i], mean[i], 1e-5) << "seed " << seed;
        }
        EXPECT_LT(incomplete, 6U) << "seed " << seed;
    }
}

TEST(Star, A_member_that_is_lost_is_named_and_the_others_have_their_mean) {
    MemoryNetwork network({.hosts = 4});
    network.set_hook([&](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
        return departure.from == 2 ? MemoryNetwork::Fate{} : MemoryNetwork::Fate{0.0};
    });
    Meeting meeting{random_vectors(4, 5)};
    const Vectors input = meeting.vectors;
    average(network, meeting);
    const std::vector<double> mean = mean_of({input[0], input[1], input[3]});
    EXPECT_THAT(meeting.reports[0][0].reasons,
                Contains(HasSubstr(network.id(2).short_name() + " sent nothing for round 0")));
    for (const std::size_t m : {0UL, 1UL, 3UL}) {
        EXPECT_FALSE(meeting.reports[m][0].complete);
        EXPECT_NEAR(meeting.reports[m][0].weight, 0.75, 1e-12);
        for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(meeting.vectors[m][i], mean[i], 1e-6);
    }
}

TEST(Star, Without_its_server_a_round_leaves_the_input_and_the_next_has_another_server) {
    MemoryNetwork network({.hosts = 3});
    Meeting meeting{random_vectors(3, 5), "none", 2};
    const Vectors input = meeting.vectors;
    network.at(0.0005, [&] { network.kill(0); });
    network.at(2, [&] { network.announce_members("it was switched off"); });
    average(network, meeting);
    const std::vector<double> mean = mean_of({input[1], input[2]});
    for (const std::size_t m : {1UL, 2UL}) {
        EXPECT_FALSE(meeting.reports[m][0].complete);
        EXPECT_THAT(meeting.reports[m][0].reasons,
                    Contains(HasSubstr("the server " + network.id(0).short_name() + " left")));
        EXPECT_TRUE(meeting.reports[m][1].complete);
        for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(meeting.vectors[m][i], mean[i], 1e-6);
    }
}

TEST(Star, A_chosen_server_serves_and_nobody_else) {
    MemoryNetwork network({.hosts = 3});
    Meeting meeting{random_vectors(3, 100)};
    meeting.options.server = network.id(2).text().substr(0, 12);
    average(network, meeting);
    EXPECT_EQ(meeting.reports[2][0].bytes_sent, 2 * 400U);
    EXPECT_EQ(meeting.reports[0][0].bytes_sent, 400U);
    meeting = {random_vectors(3, 100)};
    meeting.options.server = "ffff";
    MemoryNetwork other({.hosts = 3});
    average(other, meeting);
    EXPECT_THAT(meeting.reports[0][0].reasons, Contains(HasSubstr("ffff (averaging.server) is not here")));
}

TEST(Star, Absurd_values_are_refused_and_their_sender_named) {
    MemoryNetwork network({.hosts = 3});
    Meeting meeting{random_vectors(3, 50)};
    for (float& value : meeting.vectors[1]) value *= 1e6F;
    const Vectors input = meeting.vectors;
    average(network, meeting);
    EXPECT_THAT(meeting.reports[0][0].reasons,
                Contains(HasSubstr("refused what " + network.id(1).short_name() + " sent: norm")));
    EXPECT_THAT(meeting.reports[1][0].reasons, Contains(HasSubstr("refused our vectors")));
    const std::vector<double> mean = mean_of({input[0], input[2]});
    for (std::size_t i = 0; i < 50; ++i) EXPECT_NEAR(meeting.vectors[2][i], mean[i], 1e-6);
}

// What a codec loses is made good in later rounds, up and down: the mean over rounds is exact.
TEST(Star, Error_feedback_makes_good_what_was_lost) {
    constexpr std::size_t kRounds = 60;
    MemoryNetwork network({.hosts = 3});
    const Vectors input = random_vectors(3, 512);
    const std::vector<double> mean = mean_of(input);
    std::vector<double> sum(512);
    for (std::size_t i = 0; i < 3; ++i) {
        network.start(i, "average", [&, i] {
            Inbox inbox(network.host(i));
            ASSERT_TRUE(inbox.wait_for_members(3, 1));
            const auto topology = make_topology("full", {}).value();
            const auto codec = make_codec("int4_block", {}).value();
            const auto star = make_averaging("star", {network.host(i), inbox, *topology, {}}).value();
            std::vector<float> residual(512);
            for (std::uint64_t round = 0; round < kRounds; ++round) {
                std::vector<float> values = input[i];
                AveragePart part{values, codec.get(), {residual}};
                ASSERT_TRUE(star->average(round, std::span(&part, 1)).ok());
                for (std::size_t j = 0; i == 1 && j < 512; ++j) sum[j] += double{values[j]} / kRounds;
            }
        });
    }
    network.announce_members("start");
    ASSERT_TRUE(network.run());
    for (std::size_t j = 0; j < 512; ++j) EXPECT_NEAR(sum[j], mean[j], 0.02);
}

TEST(Server, Is_the_first_of_the_best_standing_and_never_a_client) {
    const auto peer = [](unsigned char first) {
        PeerId id;
        id.key[0] = std::byte{first};
        return id;
    };
    View view{.members = {peer(1), peer(2), peer(3)}};
    EXPECT_EQ(server_of(view, ""), peer(1));
    view.standings = {Standing::client, Standing::peer, Standing::founder};
    EXPECT_EQ(server_of(view, ""), peer(3));
    view.standings = {Standing::client, Standing::peer, Standing::peer};
    EXPECT_EQ(server_of(view, ""), peer(2));
    EXPECT_EQ(server_of(view, "03"), peer(3));
    EXPECT_EQ(server_of(view, "04"), std::nullopt);
    view.standings.assign(3, Standing::client);
    EXPECT_EQ(server_of(view, ""), std::nullopt);
}

}  // namespace
}  // namespace Atoll::gossip

// The all-reduce over a network that loses and kills, in virtual time.
#include <gtest/gtest.h>

#include <cmath>

#include "gossip/averaging/averaging.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::gossip {
namespace {

using fakes::MemoryNetwork;

constexpr std::size_t kMembers = 4;
constexpr double kDeadline = 10;

struct Outcome {
    std::vector<std::vector<float>> values{kMembers};
    std::vector<AverageReport> reports{kMembers};
};

float input(std::size_t member, std::size_t i) {
    // Squares: no mean of some members is the input of another.
    return static_cast<float>((member + 1) * (member + 1)) + 0.5F * float(i % 7);
}

// `leaver`: the member that leaves the views of the others at second 3.
Outcome run(const MemoryNetwork::Hook& hook, std::uint64_t seed = 1, std::size_t leaver = kMembers) {
    MemoryNetwork network({.hosts = kMembers, .seed = seed});
    network.set_hook(hook);
    Outcome outcome;
    const auto codec = make_codec("none", {}).value();
    for (std::size_t m = 0; m < kMembers; ++m) {
        for (std::size_t i = 0; i < 40; ++i) outcome.values[m].push_back(input(m, i));
        network.start(m, "average", [&, m] {
            Inbox inbox(network.host(m));
            ASSERT_TRUE(inbox.wait_for_members(kMembers, 1));
            const auto topology = make_topology("full", {}).value();
            const auto scheme =
                make_averaging("all_reduce",
                               {network.host(m), inbox, *topology, {.deadline_seconds = kDeadline}})
                    .value();
            AveragePart part{outcome.values[m], codec.get(), {}};
            const double start = network.now();
            auto report = scheme->average(0, std::span(&part, 1));
            ASSERT_TRUE(report.ok()) << report.error().message;
            EXPECT_LE(network.now() - start, kDeadline * 1.01);
            outcome.reports[m] = *report;
        });
    }
    network.announce_members("start");
    network.at(3, [&] {
        std::vector<std::size_t> rest;
        for (std::size_t m = 0; m < kMembers; ++m) {
            if (m != leaver) rest.push_back(m);
        }
        for (const std::size_t m : rest) {
            if (leaver < kMembers) network.announce_members_to(m, rest, "it is silent");
        }
    });
    EXPECT_TRUE(network.run());
    return outcome;
}

bool untouched(const Outcome& outcome, std::size_t m) {
    for (std::size_t i = 0; i < 40; ++i) {
        if (outcome.values[m][i] != input(m, i)) return false;
    }
    return true;
}

TEST(AllReduceFaults, A_member_lost_after_any_message_leaves_the_others_in_agreement) {
    for (std::size_t victim = 0; victim < kMembers; ++victim) {
        for (std::size_t trial = 0; trial < 28; ++trial) {
            const std::size_t after = trial / 2;
            const bool noticed = trial % 2 == 1;  // by membership
            SCOPED_TRACE(testing::Message()
                         << "member " << victim << " after message " << after << (noticed ? " noticed" : ""));
            std::size_t sent = 0;
            bool silenced = false;
            const Outcome outcome = run(
                [&](const MemoryNetwork::Departure& departure) {
                    if (departure.from == victim && sent++ >= after) silenced = true;
                    const bool gone = silenced && (departure.from == victim || departure.to == victim);
                    return gone ? MemoryNetwork::Fate{} : MemoryNetwork::Fate{0.0};
                },
                1, noticed ? victim : kMembers);
            const std::vector<float>* agreed = nullptr;
            for (std::size_t m = 0; m < kMembers; ++m) {
                if (m == victim) continue;
                if (untouched(outcome, m)) {
                    EXPECT_FALSE(outcome.reports[m].complete);
                    EXPECT_FALSE(outcome.reports[m].reasons.empty());
                    continue;
                }
                if (agreed == nullptr) agreed = &outcome.values[m];
                EXPECT_EQ(outcome.values[m], *agreed);
            }
            if (victim != 0 || noticed) {
                EXPECT_NE(agreed, nullptr) << "the survivors repeat it";
            }
        }
    }
}

TEST(AllReduceFaults, A_third_of_the_messages_may_be_lost) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        Rng rng(seed);
        const Outcome outcome = run(
            [&](const MemoryNetwork::Departure&) {
                return rng.uniform() < 0.3 ? MemoryNetwork::Fate{} : MemoryNetwork::Fate{0.0};
            },
            seed);
        for (std::size_t m = 0; m < kMembers; ++m) {
            EXPECT_EQ(outcome.values[m], outcome.values[0]) << "seed " << seed;
            EXPECT_TRUE(outcome.reports[m].complete) << "seed " << seed;
        }
    }
}

}  // namespace
}  // namespace Atoll::gossip

// Push-sum over a network that loses, repeats, delays and kills, in virtual time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "gossip/averaging/averaging.h"
#include "gossip/topology/digest.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::gossip {
namespace {

using fakes::MemoryNetwork;
using testing::Contains;
using testing::HasSubstr;

// A degree that the topology takes.
std::int64_t degree_of(std::string_view topology_name) {
    const auto entry = std::ranges::find(topologies(), topology_name, &TopologyEntry::name);
    return std::max<std::int64_t>(entry->degree_min, 1);
}

// One member's averaging and what it needs.
struct Member {
    Member(MemoryNetwork& network, std::size_t index, std::string_view topology_name,
           AveragingOptions options = {}, std::string_view codec_name = "none")
        : inbox(network.host(index)),
          topology(make_topology(topology_name, {.degree = degree_of(topology_name)}).value()),
          codec(make_codec(codec_name, {}).value()),
          averaging(make_averaging("push_sum", {network.host(index), inbox, *topology, options}).value()) {}

    Result<AverageReport> average(std::uint64_t round, std::vector<float>& values) {
        AveragePart part{values, codec.get(), {}};
        return averaging->average(round, std::span(&part, 1));
    }

    Inbox inbox;
    std::unique_ptr<Topology> topology;
    std::unique_ptr<Codec> codec;
    std::unique_ptr<Averaging> averaging;
};

bool is_share(const MemoryNetwork::Departure& departure) {
    return std::holds_alternative<MixShare>(departure.body);
}

// ---- conservation ----

// Weight and value that went into and came out of all rounds of all members.
struct Totals {
    double weight = 0;
    std::vector<double> value = std::vector<double>(5, 0);
    void add(double w, const std::vector<float>& values) {
        weight += w;
        for (std::size_t i = 0; i < values.size(); ++i) value[i] += w * double{values[i]};
    }
};

void run_chaos(std::uint64_t seed, std::size_t& incomplete) {
    constexpr std::uint64_t kRounds = 10;
    constexpr std::uint64_t kCleanRounds = 5;  // at the end, for everything pending to be settled
    constexpr double kRoundSeconds = 20;
    Rng rng(seed);
    const std::size_t n = 2 + rng.below(5);
    MemoryNetwork network({.hosts = n, .seed = seed, .jitter_seconds = 0.3});
    Rng fate = rng.split("fate");
    network.set_hook([&](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
        if (departure.time > double(kRounds - kCleanRounds) * kRoundSeconds) return {0.0};
        switch (fate.below(8)) {
            case 0: return {};
            case 1: return {0.0, 6 * fate.uniform()};
            case 2: return {4 * fate.uniform()};
            case 3: return {60 * fate.uniform()};
            default: return {0.0};
        }
    });
    Totals in;
    Totals out;
    const std::string_view topology = topologies()[rng.below(topologies().size())].name;
    for (std::size_t i = 0; i < n; ++i) {
        network.start(i, "train", [&, i] {
            Host& host = network.host(i);
            Rng own = Rng(seed).split("member", i);
            Member member(network, i, topology, {.deadline_seconds = 2});
            for (std::uint64_t round = 0; round < kRounds; ++round) {
                host.sleep(double(round) * kRoundSeconds + own.uniform() * 1.5 - host.now());
                std::vector<float> values(5);
                for (float& value : values) value = static_cast<float>(own.normal());
                in.add(1, values);
                const auto report = member.average(round, values);
                ASSERT_TRUE(report.ok()) << report.error().message;
                EXPECT_LE(report->seconds, 2.0 * double(member.averaging->stages(n)) + 1e-9);
                EXPECT_GT(report->weight, 0);
                if (!report->complete) {
                    EXPECT_FALSE(report->reasons.empty());
                    ++incomplete;
                }
                out.add(report->weight, values);
            }
        });
    }
    network.announce_members("start");
    ASSERT_TRUE(network.run());
    EXPECT_NEAR(out.weight, in.weight, 1e-9);
    for (std::size_t i = 0; i < in.value.size(); ++i) EXPECT_NEAR(out.value[i], in.value[i], 2e-5);
}

TEST(PushSumFaults, Mass_is_conserved_whatever_the_network_does) {
    std::size_t incomplete = 0;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        run_chaos(seed, incomplete);
        ASSERT_FALSE(HasFailure()) << "seed " << seed;
    }
    EXPECT_GT(incomplete, 1000U) << "the faults must have hit";
}

// ---- members that are lost ----

TEST(PushSumFaults, A_member_lost_at_any_point_ends_in_a_reason_within_the_deadline) {
    constexpr double kDeadline = 3;
    for (std::uint64_t seed = 0; seed < 120; ++seed) {
        const std::size_t n = 4;
        const std::size_t victim = seed % n;
        MemoryNetwork network({.hosts = n, .seed = seed, .latency_seconds = 0.1, .jitter_seconds = 0.2});
        const std::string_view topology = topologies()[seed % topologies().size()].name;
        std::vector<AverageReport> reports(n);
        std::vector<std::vector<float>> after(n);
        for (std::size_t i = 0; i < n; ++i) {
            network.start(i, "train", [&, i] {
                Host& host = network.host(i);
                Member member(network, i, topology, {.deadline_seconds = kDeadline});
                for (std::uint64_t round = 0; round < 4; ++round) {
                    host.sleep(double(round) * 10 - host.now());
                    std::vector<float> values(3, static_cast<float>(i));
                    const double start = host.now();
                    const auto report = member.average(round, values);
                    const auto stages = static_cast<double>(member.averaging->stages(n));
                    EXPECT_LE(host.now() - start, stages * kDeadline + 1e-9);
                    if (!report.ok()) {
                        EXPECT_EQ(report.error().code, ErrorCode::interrupted);
                        EXPECT_EQ(i, victim);
                        return;
                    }
                    if (round == 0) reports[i] = *report;
                    if (round == 3) {
                        EXPECT_TRUE(report->complete) << "survivors are whole again";
                        EXPECT_EQ(report->members, n - 1);
                        after[i] = values;
                    }
                }
            });
        }
        network.announce_members("start");
        network.at(0.6 * Rng(seed).uniform(), [&] { network.kill(victim); });
        network.at(9, [&] { network.announce_members("it has not been heard of"); });
        ASSERT_TRUE(network.run());
        std::size_t complained = 0;
        for (std::size_t i = 0; i < n; ++i) {
            if (i == victim || reports[i].complete) continue;
            ++complained;
            EXPECT_FALSE(reports[i].reasons.empty());
        }
        if (topology == "full" && complained > 0) {
            std::string all;
            for (std::size_t i = 0; i < n; ++i) {
                for (const std::string& reason : reports[i].reasons) all += reason;
            }
            EXPECT_THAT(all, HasSubstr(network.id(victim).short_name()));
        }
        ASSERT_FALSE(HasFailure()) << "seed " << seed;
    }
}

TEST(PushSumFaults, A_lost_share_is_asked_for_and_comes_before_the_deadline) {
    constexpr double kDeadline = 32;
    MemoryNetwork network({.hosts = 2, .latency_seconds = 0.1});
    bool lost = false;
    std::size_t shares = 0;
    network.set_hook([&](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
        if (is_share(departure)) ++shares;
        if (!is_share(departure) || departure.from != 1 || lost) return {0.0};
        lost = true;
        return {};
    });
    for (std::size_t i = 0; i < 2; ++i) {
        network.start(i, "average", [&, i] {
            Member member(network, i, "full", {.deadline_seconds = kDeadline});
            for (std::uint64_t round = 0; round < 4; ++round) {
                std::vector<float> values(4, static_cast<float>(i));
                const auto report = member.average(round, values);
                ASSERT_TRUE(report.ok());
                EXPECT_TRUE(report->complete);
                for (const float value : values) EXPECT_FLOAT_EQ(value, 0.5F);
                const double expected = round == 0 && i == 0 ? kDeadline / 4 + 0.2 : 0.1;
                if (round == 0) {
                    EXPECT_NEAR(report->seconds, expected, 1e-6);
                }
            }
        });
    }
    network.announce_members("start");
    ASSERT_TRUE(network.run());
    EXPECT_TRUE(lost);
    EXPECT_EQ(shares, 9U) << "two a round, and the lost one again";
}

TEST(PushSumFaults, A_member_that_leaves_the_view_is_not_waited_for) {
    MemoryNetwork network({.hosts = 3});
    double seconds = 0;
    std::vector<float> values(4, 1.0F);
    network.start(0, "average", [&] {
        Member member(network, 0, "full", {.deadline_seconds = 30});
        const auto report = member.average(0, values);
        ASSERT_TRUE(report.ok());
        EXPECT_FALSE(report->complete);
        EXPECT_THAT(report->reasons,
                    Contains(HasSubstr(network.id(2).short_name() + " left during round 0 stage 0: "
                                                                    "it was switched off")));
        EXPECT_NEAR(report->weight, 1, 1e-12)
            << "two thirds stayed or came, and what the lost one had comes home";
        seconds = report->seconds;
    });
    network.start(1, "average", [&] {
        Member member(network, 1, "full", {.deadline_seconds = 30});
        std::vector<float> own(4, 3.0F);
        EXPECT_TRUE(member.average(0, own).ok());
    });
    network.announce_members("start");
    network.at(5, [&] {
        network.kill(2);
        network.announce_members("it was switched off");
    });
    ASSERT_TRUE(network.run());
    EXPECT_NEAR(seconds, 5, 0.01);
    // 1/3 of 1 kept, 1/3 of 3 received, 1/3 of 1 come home.
    EXPECT_NEAR(values[0], (1 + 3 + 1) / 3.0, 1e-6);
}

TEST(PushSumFaults, A_restarted_member_takes_part_again) {
    MemoryNetwork network({.hosts = 2});
    int complete = 0;
    const auto train = [&](std::size_t i, std::uint64_t first, std::uint64_t last) {
        Member member(network, i, "full", {.deadline_seconds = 2});
        for (std::uint64_t round = first; round <= last; ++round) {
            network.host(i).sleep(double(round) * 10 - network.now());
            std::vector<float> values(4, static_cast<float>(i));
            const auto report = member.average(round, values);
            if (!report.ok()) return;
            if (round != 6) continue;
            EXPECT_TRUE(report->complete);
            ++complete;
        }
    };
    network.start(0, "train", [&] { train(0, 0, 6); });
    network.start(1, "train", [&] { train(1, 0, 6); });
    network.announce_members("start");
    network.at(20.0005, [&] { network.kill(1); });
    network.at(25, [&] { network.announce_members("gone"); });
    network.at(45, [&] {
        network.revive(1);
        network.announce_members("back");
        network.start(1, "again", [&] { train(1, 5, 6); });
    });
    ASSERT_TRUE(network.run());
    EXPECT_EQ(complete, 2);
}

// ---- late, early, repeated ----

TEST(PushSumFaults, A_late_share_of_the_previous_round_adds_value_and_weight) {
    MemoryNetwork network({.hosts = 2});
    network.set_hook([&](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
        return {is_share(departure) && departure.from == 1 && departure.time < 1 ? 4.0 : 0.0};
    });
    const float inputs[2][2] = {{1, 2}, {10, 20}};  // member, round
    for (std::size_t i = 0; i < 2; ++i) {
        network.start(i, "train", [&, i] {
            Member member(network, i, "full", {.deadline_seconds = 1});
            for (std::uint64_t round = 0; round < 2; ++round) {
                network.host(i).sleep(double(round) * 10 - network.now());
                std::vector<float> values(1, inputs[i][round]);
                const auto report = member.average(round, values);
                ASSERT_TRUE(report.ok());
                EXPECT_EQ(report->complete, i == 1 || round == 1);
                if (i == 0) {
                    EXPECT_NEAR(report->weight, round == 0 ? 0.5 : 1.5, 1e-12);
                    EXPECT_NEAR(values[0], round == 0 ? 1 : (2 + 20 + 10) / 3.0, 1e-6);
                    if (round == 0) {
                        EXPECT_THAT(report->reasons,
                                    Contains(HasSubstr(network.id(1).short_name() +
                                                       " sent nothing for round 0 stage 0")));
                    }
                } else {
                    EXPECT_NEAR(values[0], round == 0 ? 5.5 : 11, 1e-6);
                }
            }
        });
    }
    network.announce_members("start");
    ASSERT_TRUE(network.run());
}

TEST(PushSumFaults, A_part_that_rotates_takes_nothing_of_earlier_rounds) {
    MemoryNetwork network({.hosts = 2});
    network.set_hook([&](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
        return {is_share(departure) && departure.from == 1 && departure.time < 1 ? 4.0 : 0.0};
    });
    for (std::size_t i = 0; i < 2; ++i) {
        network.start(i, "train", [&, i] {
            Member member(network, i, "full", {.deadline_seconds = 1});
            for (std::uint64_t round = 0; round < 2; ++round) {
                network.host(i).sleep(double(round) * 10 - network.now());
                std::vector<float> update(1, i == 0 ? 2.0F : 20.0F);
                std::vector<float> slice = update;
                AveragePart parts[] = {{update, member.codec.get(), {}},
                                       {slice, member.codec.get(), {}, true}};
                ASSERT_TRUE(member.averaging->average(round, parts).ok());
                if (i != 0 || round != 1) continue;
                EXPECT_NEAR(update[0], (2 + 20 + 20) / 3.0, 1e-5);
                EXPECT_NEAR(slice[0], (2 + 20) / 2.0, 1e-5);
            }
        });
    }
    network.announce_members("start");
    ASSERT_TRUE(network.run());
}

TEST(PushSumFaults, Shares_of_a_faster_member_wait_for_the_slower_one) {
    MemoryNetwork network({.hosts = 2});
    for (std::size_t i = 0; i < 2; ++i) {
        network.start(i, "train", [&, i] {
            Member member(network, i, "full", {.deadline_seconds = 10});
            if (i == 1) network.host(i).sleep(5);
            for (std::uint64_t round = 0; round < 5; ++round) {
                std::vector<float> values(1, static_cast<float>(i));
                const auto report = member.average(round, values);
                ASSERT_TRUE(report.ok());
                EXPECT_TRUE(report->complete);
                EXPECT_EQ(report->weight, 1);
                EXPECT_EQ(values[0], 0.5F);
                if (i == 1) network.host(i).sleep(3);
            }
        });
    }
    network.announce_members("start");
    ASSERT_TRUE(network.run());
}

TEST(PushSumFaults, Repeated_messages_change_nothing) {
    const auto run = [](bool repeat) {
        MemoryNetwork network({.hosts = 5});
        if (repeat) {
            network.set_hook([](const MemoryNetwork::Departure&) {
                return MemoryNetwork::Fate{0.0, 0.0, 0.5, 12.0};
            });
        }
        std::vector<std::vector<float>> results(5);
        for (std::size_t i = 0; i < 5; ++i) {
            network.start(i, "train", [&, i] {
                Member member(network, i, "one_peer_exponential");
                Rng rng(i);
                for (std::uint64_t round = 0; round < 4; ++round) {
                    network.host(i).sleep(double(round) * 10 - network.now());
                    std::vector<float> values(3);
                    for (float& value : values) value = static_cast<float>(rng.normal());
                    const auto report = member.average(round, values);
                    ASSERT_TRUE(report.ok());
                    EXPECT_TRUE(report->complete && report->reasons.empty());
                    results[i].insert(results[i].end(), values.begin(), values.end());
                }
            });
        }
        network.announce_members("start");
        EXPECT_TRUE(network.run());
        return results;
    };
    EXPECT_EQ(run(false), run(true));
}

// ---- what is refused ----

// The digest that two members of topology `full` agree on.
Hash full_exchange(MemoryNetwork& network) {
    return schedule_digest(*make_topology("full", {}).value(),
                           {.epoch = 1, .members = {network.id(0), network.id(1)}, .reason = ""});
}

struct Forgery {
    const char* name;
    const char* reason;  // must be part of the receipt's and the report's
    std::function<void(MixShare&, std::vector<float>&)> forge;
};

TEST(PushSumFaults, Unacceptable_shares_are_refused_with_a_reason_that_names_the_peer) {
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    constexpr double kNanWeight = std::numeric_limits<double>::quiet_NaN();
    constexpr std::byte kBit{4};
    const std::vector<Forgery> forgeries = {
        {"nan", "not finite", [](MixShare&, std::vector<float>& v) { v[2] = kNan; }},
        {"infinity", "not finite", [](MixShare&, std::vector<float>& v) { v[0] = -1 / 0.0F; }},
        {"norm", "more than 100 times ours", [](MixShare&, std::vector<float>& v) { v[1] = 1e6F; }},
        {"zero weight", "weight 0", [](MixShare& s, std::vector<float>&) { s.weight = 0; }},
        {"negative weight", "weight -0.5", [](MixShare& s, std::vector<float>&) { s.weight = -0.5; }},
        {"heavy", "weight 1.5", [](MixShare& s, std::vector<float>&) { s.weight = 1.5; }},
        {"nan weight", "weight nan", [](MixShare& s, std::vector<float>&) { s.weight = kNanWeight; }},
        {"count", "its parts differ", [](MixShare& s, std::vector<float>&) { s.parts[0].count = 5; }},
        {"codec", "its parts differ", [](MixShare& s, std::vector<float>&) { s.parts[0].codec = 2; }},
        {"bytes", "its parts differ", [](MixShare& s, std::vector<float>&) { s.parts[0].bytes = ~0ULL; }},
        {"no parts", "its parts differ", [](MixShare& s, std::vector<float>&) { s.parts.clear(); }},
        {"short", "payload of 12 bytes", [](MixShare&, std::vector<float>& v) { v.pop_back(); }},
        {"stage", "stage 1 of a schedule of 1", [](MixShare& s, std::vector<float>&) { s.stage = 1; }},
        {"old", "round 3 is over", [](MixShare& s, std::vector<float>&) { s.round = 3; }},
        {"future", "round 99 is too far ahead", [](MixShare& s, std::vector<float>&) { s.round = 99; }},
        {"rules", "another name or other options",
         [](MixShare& s, std::vector<float>&) { s.schedule[3] ^= kBit; }},
        {"schedule", "same members differs",
         [](MixShare& s, std::vector<float>&) { s.schedule[20] ^= kBit; }},
    };
    for (const Forgery& forgery : forgeries) {
        SCOPED_TRACE(forgery.name);
        MemoryNetwork network({.hosts = 2});
        std::vector<float> values(4, 2.0F);
        network.start(0, "honest", [&] {
            Member member(network, 0, "full", {.deadline_seconds = 5});
            const auto report = member.average(7, values);
            ASSERT_TRUE(report.ok());
            EXPECT_FALSE(report->complete);
            EXPECT_THAT(report->reasons,
                        Contains(HasSubstr("refused a share of " + network.id(1).short_name())));
            EXPECT_THAT(report->reasons, Contains(HasSubstr(forgery.reason)));
        });
        network.start(1, "forger", [&] {
            std::vector<float> forged(4, 1.0F);
            MixShare share{.round = 7,
                           .sequence = 42,
                           .weight = 0.5,
                           .schedule = full_exchange(network),
                           .parts = {{0, 4, 16}}};
            forgery.forge(share, forged);
            const ByteView bytes = std::as_bytes(std::span<const float>(forged));
            const SharedBytes payload(Bytes(bytes.begin(), bytes.end()));
            ASSERT_TRUE(network.host(1).send(network.id(0), share, payload).ok());
            bool refused = false;
            while (auto message = network.host(1).receive(Topic::mixing, 20)) {
                const auto* receipt = std::get_if<MixReceipt>(&message->body);
                if (receipt == nullptr || receipt->sequence != 42) continue;
                EXPECT_EQ(receipt->kind, ReceiptKind::refused);
                EXPECT_THAT(receipt->reason, HasSubstr(forgery.reason));
                refused = true;
            }
            EXPECT_TRUE(refused);
        });
        network.announce_members("start");
        ASSERT_TRUE(network.run());
        EXPECT_EQ(values, std::vector<float>(4, 2.0F)) << "nothing of it got in";
    }
}

TEST(PushSumFaults, A_second_share_for_the_same_stage_is_refused) {
    MemoryNetwork network({.hosts = 2});
    std::vector<float> values(1, 1.0F);
    network.start(0, "honest", [&] {
        network.host(0).sleep(1);
        Member member(network, 0, "full", {.deadline_seconds = 5});
        EXPECT_TRUE(member.average(0, values).ok());
    });
    network.start(1, "greedy", [&] {
        for (std::uint64_t sequence = 1; sequence <= 3; ++sequence) {
            const float value = 5;
            const ByteView bytes = std::as_bytes(std::span(&value, 1));
            ASSERT_TRUE(network.host(1)
                            .send(network.id(0),
                                  MixShare{.sequence = sequence,
                                           .weight = 0.5,
                                           .schedule = full_exchange(network),
                                           .parts = {{0, 1, 4}}},
                                  SharedBytes(Bytes(bytes.begin(), bytes.end())))
                            .ok());
        }
        std::vector<ReceiptKind> kinds;
        while (auto message = network.host(1).receive(Topic::mixing, 20)) {
            if (const auto* receipt = std::get_if<MixReceipt>(&message->body)) kinds.push_back(receipt->kind);
        }
        EXPECT_THAT(kinds,
                    testing::ElementsAre(ReceiptKind::accepted, ReceiptKind::refused, ReceiptKind::refused));
    });
    network.announce_members("start");
    ASSERT_TRUE(network.run());
    EXPECT_EQ(values[0], 3.0F);
}

TEST(PushSumFaults, Own_values_that_are_not_finite_are_not_sent) {
    MemoryNetwork network({.hosts = 2});
    network.start(0, "diverged", [&] {
        Member member(network, 0, "full");
        ASSERT_TRUE(member.inbox.wait_for_members(2, 1));
        std::vector<float> values = {1, std::numeric_limits<float>::quiet_NaN()};
        const auto report = member.average(3, values);
        ASSERT_FALSE(report.ok());
        EXPECT_EQ(report.error().code, ErrorCode::invalid);
        EXPECT_EQ(network.host(0).traffic().bytes_sent, 0U);
    });
    network.announce_members("start");
    ASSERT_TRUE(network.run());
}

TEST(PushSumFaults, Stopping_interrupts_at_once) {
    MemoryNetwork network({.hosts = 2});
    network.start(0, "average", [&] {
        Member member(network, 0, "full", {.deadline_seconds = 1000});
        std::vector<float> values(4, 1.0F);
        const auto report = member.average(0, values);
        ASSERT_FALSE(report.ok());
        EXPECT_EQ(report.error().code, ErrorCode::interrupted);
        EXPECT_EQ(network.now(), 7);
    });
    network.announce_members("start");
    network.at(7, [&] { network.stop(0); });
    ASSERT_TRUE(network.run());
}

TEST(PushSumFaults, What_cannot_be_sent_stays_here) {
    MemoryNetwork network({.hosts = 3});
    std::vector<float> values(1, 6.0F);
    network.start(0, "average", [&] {
        Member member(network, 0, "full", {.deadline_seconds = 2});
        network.host(0).disconnect(network.id(1));
        const auto report = member.average(0, values);
        ASSERT_TRUE(report.ok());
        EXPECT_THAT(report->reasons, Contains(HasSubstr("could not send to " + network.id(1).short_name())));
        EXPECT_NEAR(report->weight, 2.0 / 3, 1e-12);
        EXPECT_EQ(report->bytes_sent, 4U) << "only what member 2 was sent";
    });
    network.announce_members("start");
    ASSERT_TRUE(network.run());
    EXPECT_EQ(values[0], 6.0F);
}

// ---- error feedback ----

TEST(PushSumFaults, Error_feedback_makes_the_time_average_of_the_mixed_values_the_true_mean) {
    constexpr std::size_t kMembers = 4;
    constexpr std::size_t kCount = 300;
    constexpr int kRounds = 200;
    MemoryNetwork network({.hosts = kMembers});
    std::vector<std::vector<float>> inputs(kMembers, std::vector<float>(kCount));
    std::vector<double> mean(kCount, 0);
    Rng rng(3);
    for (auto& input : inputs) {
        for (std::size_t i = 0; i < kCount; ++i) {
            input[i] = static_cast<float>(rng.normal());
            mean[i] += double{input[i]} / kMembers;
        }
    }
    std::vector<double> first_error(kMembers, 0);
    std::vector<double> error(kMembers, 0);
    for (std::size_t m = 0; m < kMembers; ++m) {
        network.start(m, "train", [&, m] {
            Member member(network, m, "one_peer_exponential", {}, "int8_block");
            ASSERT_TRUE(member.inbox.wait_for_members(kMembers, 1));
            std::vector<std::vector<float>> residuals(member.averaging->stages(kMembers),
                                                      std::vector<float>(kCount));
            std::vector<double> sum(kCount, 0);
            for (int round = 0; round < kRounds; ++round) {
                std::vector<float> values = inputs[m];
                AveragePart part{values, member.codec.get(), {}};
                for (auto& residual : residuals) part.residuals.emplace_back(residual);
                ASSERT_TRUE(
                    member.averaging->average(static_cast<std::uint64_t>(round), std::span(&part, 1)).ok());
                for (std::size_t i = 0; i < kCount; ++i) {
                    sum[i] += double{values[i]};
                    if (round == 0) first_error[m] += std::abs(double{values[i]} - mean[i]);
                    if (round == kRounds - 1) error[m] += std::abs(sum[i] / kRounds - mean[i]);
                }
            }
        });
    }
    network.announce_members("start");
    ASSERT_TRUE(network.run());
    for (std::size_t m = 0; m < kMembers; ++m) {
        EXPECT_GT(first_error[m] / kCount, 1e-4) << "one round is off by the codec's rounding";
        EXPECT_LT(error[m], first_error[m] / 30);
    }
}

}  // namespace
}  // namespace Atoll::gossip

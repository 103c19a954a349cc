// The fake network that the tests of gossip and federation stand on keeps its own promises.
#include "tests/fakes/memory_host.h"

#include <gtest/gtest.h>

namespace Atoll {
namespace {

using fakes::MemoryNetwork;
using gossip::Message;
using gossip::MixReceipt;
using gossip::MixWithdraw;
using gossip::Topic;

std::uint64_t sequence_of(const std::optional<Message>& message) {
    return message ? std::get<MixWithdraw>(message->body).sequence : 0;
}

TEST(MemoryNetwork, Clock_advances_only_by_waiting_and_messages_take_their_latency) {
    MemoryNetwork network({.hosts = 2, .latency_seconds = 0.25});
    double arrived = -1;
    double timed_out = -1;
    double slept = -1;
    network.start(0, "sender", [&] {
        network.host(0).sleep(1);
        slept = network.host(0).now();
        ASSERT_TRUE(network.host(0).send(network.id(1), MixWithdraw{7}).ok());
    });
    network.start(1, "receiver", [&] {
        EXPECT_FALSE(network.host(1).receive(Topic::mixing, 0.5));
        timed_out = network.host(1).now();
        EXPECT_EQ(sequence_of(network.host(1).receive(Topic::mixing, 9)), 7U);
        arrived = network.host(1).now();
    });
    EXPECT_TRUE(network.run());
    EXPECT_EQ(slept, 1);
    EXPECT_EQ(timed_out, 0.5);
    EXPECT_EQ(arrived, 1.25);
    EXPECT_EQ(network.host(0).traffic().bytes_sent, MemoryNetwork::message_bytes(MixWithdraw{}, 0));
    EXPECT_EQ(network.host(1).traffic().bytes_received, network.host(0).traffic().bytes_sent);
}

TEST(MemoryNetwork, Hook_loses_doubles_and_delays) {
    MemoryNetwork network({.hosts = 2});
    network.set_hook([](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
        const std::uint64_t sequence = std::get<MixWithdraw>(departure.body).sequence;
        if (sequence == 1) return {};
        if (sequence == 2) return {0.0, 0.5};
        if (sequence == 3) return {5.0};
        return {0.0};
    });
    network.start(0, "sender", [&] {
        for (std::uint64_t i = 1; i <= 4; ++i)
            ASSERT_TRUE(network.host(0).send(network.id(1), MixWithdraw{i}).ok());
    });
    std::vector<std::uint64_t> order;
    network.start(1, "receiver", [&] {
        while (auto message = network.host(1).receive(Topic::mixing, 10))
            order.push_back(sequence_of(message));
    });
    EXPECT_TRUE(network.run());
    EXPECT_EQ(order, (std::vector<std::uint64_t>{2, 4, 2, 3}));
}

TEST(MemoryNetwork, Messages_of_a_pair_keep_their_order_despite_jitter_and_size) {
    MemoryNetwork network({.hosts = 2, .jitter_seconds = 1, .bytes_per_second = 1000});
    network.start(0, "sender", [&] {
        for (std::uint64_t i = 1; i <= 50; ++i) {
            const SharedBytes payload(Bytes(i % 3 == 0 ? 500 : 0));
            ASSERT_TRUE(network.host(0).send(network.id(1), MixWithdraw{i}, payload).ok());
        }
    });
    std::uint64_t last = 0;
    network.start(1, "receiver", [&] {
        while (auto message = network.host(1).receive(Topic::mixing, 100)) {
            EXPECT_EQ(sequence_of(message), last + 1);
            last = sequence_of(message);
        }
    });
    EXPECT_TRUE(network.run());
    EXPECT_EQ(last, 50U);
}

TEST(MemoryNetwork, A_killed_host_unwinds_and_a_revived_one_starts_empty) {
    MemoryNetwork network({.hosts = 2, .latency_seconds = 0.1});
    bool unwound = false;
    std::uint64_t heard = 0;
    network.start(1, "victim", [&] {
        gossip::Host& host = network.host(1);
        EXPECT_FALSE(host.receive(Topic::mixing, MemoryNetwork::kForever));
        EXPECT_TRUE(host.stopping());
        EXPECT_FALSE(host.send(network.id(0), MixWithdraw{1}).ok());
        EXPECT_EQ(host.now(), 2);
        unwound = true;
    });
    network.start(0, "sender", [&] {
        network.host(0).sleep(3);
        ASSERT_TRUE(network.host(0).send(network.id(1), MixWithdraw{5}).ok());  // into the void
        network.host(0).sleep(2);
        ASSERT_TRUE(network.host(0).send(network.id(1), MixWithdraw{6}).ok());
    });
    network.at(2, [&] { network.kill(1); });
    network.at(4, [&] {
        network.revive(1);
        network.start(1, "again", [&] { heard = sequence_of(network.host(1).receive(Topic::mixing, 20)); });
    });
    EXPECT_TRUE(network.run());
    EXPECT_TRUE(unwound);
    EXPECT_EQ(heard, 6U);
}

TEST(MemoryNetwork, Activities_are_joined_by_their_owner_in_virtual_time) {
    MemoryNetwork network({.hosts = 1});
    std::vector<int> order;
    network.start(0, "main", [&] {
        {
            auto activity = network.host(0).spawn("helper", [&] {
                network.host(0).sleep(5);
                order.push_back(1);
            });
        }
        order.push_back(2);
        EXPECT_EQ(network.host(0).now(), 5);
    });
    EXPECT_TRUE(network.run());
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(MemoryNetwork, Waiting_for_ever_is_reported_and_unwound) {
    MemoryNetwork network({.hosts = 1});
    bool returned = false;
    network.start(0, "main", [&] {
        EXPECT_FALSE(network.host(0).receive(Topic::mixing, MemoryNetwork::kForever));
        returned = true;
    });
    EXPECT_FALSE(network.run());
    EXPECT_TRUE(returned);
}

TEST(MemoryNetwork, The_same_seed_gives_the_same_run) {
    const auto trace = [](std::uint64_t seed) {
        MemoryNetwork network({.hosts = 5, .seed = seed, .jitter_seconds = 0.01});
        std::vector<std::pair<std::size_t, double>> arrivals;
        for (std::size_t i = 0; i < network.size(); ++i) {
            network.start(i, "node", [&network, &arrivals, i] {
                for (std::size_t j = 0; j < network.size(); ++j) {
                    if (j == i) continue;
                    EXPECT_TRUE(network.host(i).send(network.id(j), MixReceipt{.sequence = i}).ok());
                }
                while (auto message = network.host(i).receive(Topic::mixing, 1)) {
                    arrivals.emplace_back(std::get<MixReceipt>(message->body).sequence, network.now());
                }
            });
        }
        EXPECT_TRUE(network.run());
        return arrivals;
    };
    EXPECT_EQ(trace(3), trace(3));
    EXPECT_NE(trace(3), trace(4));
    EXPECT_EQ(trace(3).size(), 20U);
}

}  // namespace
}  // namespace Atoll

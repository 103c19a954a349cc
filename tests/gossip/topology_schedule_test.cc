// The schedules themselves, against the definitions.
#include <gtest/gtest.h>

#include "gossip/topology/topology.h"

namespace Atoll::gossip {
namespace {

std::unique_ptr<Topology> make(std::string_view name) { return make_topology(name, {}).value(); }

TEST(OnePeerExponential, Receives_from_the_member_two_to_the_round_ahead) {
    const auto topology = make("one_peer_exponential");
    for (std::uint64_t round = 0; round < 9; ++round) {
        const std::size_t offset = std::size_t{1} << (round % 3);
        const Exchange exchange = topology->exchange(8, 5, round);
        EXPECT_EQ(exchange.keep, 0.5);
        ASSERT_EQ(exchange.receive.size(), 1U);
        ASSERT_EQ(exchange.send.size(), 1U);
        EXPECT_EQ(exchange.receive[0].member, (5 + offset) % 8);
        EXPECT_EQ(exchange.send[0].member, (5 + 8 - offset) % 8);
        EXPECT_EQ(exchange.send[0].weight, 0.5);
    }
}

TEST(OnePeerExponential, Period_is_the_logarithm_rounded_up_and_exact_for_powers_of_two_only) {
    const auto topology = make("one_peer_exponential");
    const std::size_t periods[] = {0, 0, 1, 2, 2, 3, 3, 3, 3, 4};
    for (std::size_t n = 1; n < std::size(periods); ++n) EXPECT_EQ(topology->rounds(n), periods[n]) << n;
    for (std::size_t n = 1; n <= 130; ++n) EXPECT_EQ(topology->exact(n), (n & (n - 1)) == 0) << n;
}

TEST(Ring, Mixes_a_third_with_each_neighbour_and_half_with_an_only_one) {
    const auto topology = make("ring");
    const Exchange exchange = topology->exchange(5, 0, 0);
    ASSERT_EQ(exchange.send.size(), 2U);
    EXPECT_EQ(exchange.send[0].member, 1U);
    EXPECT_EQ(exchange.send[1].member, 4U);
    EXPECT_EQ(exchange.send[0].weight, 1.0 / 3);
    EXPECT_EQ(topology->exchange(2, 0, 0).send.size(), 1U);
    EXPECT_EQ(topology->exchange(2, 0, 0).keep, 0.5);
    EXPECT_TRUE(topology->exact(3));
    EXPECT_FALSE(topology->exact(4));
}

TEST(Full, Everybody_sends_to_everybody_else) {
    const auto topology = make("full");
    const Exchange exchange = topology->exchange(17, 3, 4);
    EXPECT_EQ(exchange.send.size(), 16U);
    EXPECT_EQ(topology->period(17), 1U);
    EXPECT_TRUE(topology->exact(17));
}

}  // namespace
}  // namespace Atoll::gossip

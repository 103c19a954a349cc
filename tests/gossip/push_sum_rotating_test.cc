// A part that means something else every round takes no mass of earlier rounds.
#include <gtest/gtest.h>

#include "gossip/averaging/averaging.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::gossip {
namespace {

using fakes::MemoryNetwork;

TEST(PushSumRotating, Late_mass_goes_into_lasting_parts_only) {
    MemoryNetwork network({.hosts = 2});
    // Member 1's share of round 0 comes when member 0 is in round 1.
    network.set_hook([&](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
        const auto* share = std::get_if<MixShare>(&departure.body);
        return {share != nullptr && share->round == 0 && departure.from == 1 ? 6.0 : 0.0};
    });
    const auto topology = make_topology("full", {}).value();
    const auto codec = make_codec("none", {}).value();
    std::vector<std::vector<float>> lasting(2), rotating(2);
    for (std::size_t i = 0; i < 2; ++i) {
        network.start(i, "member", [&, i] {
            Host& host = network.host(i);
            Inbox inbox(host);
            const auto averaging =
                make_averaging("push_sum",
                               {host, inbox, *topology, {.deadline_seconds = i == 0 ? 5.0 : 60.0}})
                    .value();
            ASSERT_TRUE(inbox.wait_for_members(2, 1));
            for (std::uint64_t round = 0; round < 2; ++round) {
                const auto value = static_cast<float>(10 * round + i + 1);  // 1, 2, then 11, 12
                lasting[i] = {value, value};
                rotating[i] = {100 * value, 100 * value};
                std::vector<AveragePart> parts = {
                    {.values = lasting[i], .codec = codec.get()},
                    {.values = rotating[i], .codec = codec.get(), .rotates = true}};
                const auto report = averaging->average(round, parts);
                ASSERT_TRUE(report.ok());
                EXPECT_EQ(report->complete, i != 0 || round != 0);
                if (i == 0) host.sleep(2);  // training; meanwhile the late share arrives
            }
        });
    }
    network.announce_members("start");
    ASSERT_TRUE(network.run());
    // Round 1 of member 0: its half of 11, half of 12, and the half of 2 that was under way.
    EXPECT_NEAR(lasting[0][0], (0.5 * 11 + 0.5 * 12 + 0.5 * 2) / 1.5, 1e-5);
    EXPECT_NEAR(rotating[0][0], 1150, 1e-3);
}

}  // namespace
}  // namespace Atoll::gossip

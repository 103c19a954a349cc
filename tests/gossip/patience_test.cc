#include "gossip/averaging/patience.h"

#include <gtest/gtest.h>

namespace Atoll::gossip {
namespace {

TEST(Patience, Before_anything_is_seen_it_is_a_quarter_of_the_deadline_and_doubles) {
    const Patience patience(32);
    EXPECT_DOUBLE_EQ(patience.wait(0), 8);
    EXPECT_DOUBLE_EQ(patience.wait(1), 16);
    EXPECT_DOUBLE_EQ(patience.wait(2), 32);
}

// RFC 6298: RTO = SRTT + 4 RTTVAR; the first sample R gives SRTT = R, RTTVAR = R / 2, so 3 R; a second one,
// R', gives RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R'| and then SRTT = 7/8 SRTT + 1/8 R'.
TEST(Patience, Follows_the_waits_as_RFC_6298_does) {
    Patience patience(100);
    patience.saw(4);
    EXPECT_DOUBLE_EQ(patience.wait(0), 12);
    patience.saw(8);
    EXPECT_DOUBLE_EQ(patience.wait(0), 4.5 + 4 * (0.75 * 2 + 0.25 * 4));
    for (int i = 0; i < 200; ++i) patience.saw(8);
    EXPECT_NEAR(patience.wait(0), 8, 1e-6) << "steady waits leave no spread";
}

TEST(Patience, Stays_within_a_thirty_second_and_a_half_of_the_deadline) {
    Patience quick(64);
    quick.saw(1e-6);
    EXPECT_DOUBLE_EQ(quick.wait(0), 2);
    Patience slow(64);
    slow.saw(60);
    EXPECT_DOUBLE_EQ(slow.wait(0), 32);
}

}  // namespace
}  // namespace Atoll::gossip

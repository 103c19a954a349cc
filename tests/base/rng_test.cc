#include "base/rng.h"

#include <gtest/gtest.h>

#include <cmath>

namespace Atoll {
namespace {

// Random123's known-answer vector for philox4x32-10 with counter and key zero.
TEST(Rng, Philox_matches_the_published_vector) {
    Rng rng(0);
    EXPECT_EQ(rng.bits32(), 0x6627e8d5U);
    EXPECT_EQ(rng.bits32(), 0xe169c58dU);
    EXPECT_EQ(rng.bits32(), 0xbc57ac4cU);
    EXPECT_EQ(rng.bits32(), 0x9b00dbd8U);
}

TEST(Rng, Seek_continues_bit_for_bit) {
    Rng a(7);
    for (int i = 0; i < 13; ++i) (void)a.bits32();
    Rng b(7);
    b.seek(a.position());
    for (int i = 0; i < 50; ++i) EXPECT_EQ(a.bits64(), b.bits64());
}

TEST(Rng, Splits_are_independent_of_position_and_of_each_other) {
    Rng a(7);
    const std::uint64_t before = a.split("x", 3).bits64();
    (void)a.bits64();
    EXPECT_EQ(a.split("x", 3).bits64(), before);
    EXPECT_NE(a.split("x", 4).bits64(), before);
    EXPECT_NE(a.split("y", 3).bits64(), before);
}

TEST(Rng, Normal_has_the_moments_of_a_normal) {
    Rng rng(11);
    const int n = 200000;
    double sum = 0;
    double squares = 0;
    double fourth = 0;
    for (int i = 0; i < n; ++i) {
        const double x = rng.normal();
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    EXPECT_NEAR(sum / n, 0.0, 0.01);
    EXPECT_NEAR(squares / n, 1.0, 0.02);
    EXPECT_NEAR(fourth / n, 3.0, 0.1);
}

TEST(Rng, Below_stays_below_and_covers_all) {
    Rng rng(5);
    int counts[7] = {};
    for (int i = 0; i < 70000; ++i) ++counts[rng.below(7)];
    for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
}

}  // namespace
}  // namespace Atoll

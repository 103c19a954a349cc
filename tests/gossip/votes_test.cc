// Codecs of votes: exact, of exactly the bytes that they promise, and strict.
#include "gossip/codec/votes.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"

namespace Atoll::gossip {
namespace {

std::vector<float> through(const Codec& codec, const std::vector<float>& values, std::size_t bytes) {
    std::vector<std::byte> packed(codec.encoded_bytes(values.size()));
    EXPECT_EQ(codec.encode(values, {}, packed, {}, {}), bytes);
    EXPECT_EQ(packed.size(), bytes);
    std::vector<float> decoded(values.size());
    EXPECT_TRUE(codec.decode(packed, decoded, 1, false).ok());
    return decoded;
}

TEST(SignVotes, Every_byte_and_every_length_survives) {
    const auto codec = make_sign_votes();
    for (unsigned byte = 0; byte < 256; ++byte) {
        std::vector<float> values;
        for (unsigned bit = 0; bit < 8; ++bit) values.push_back((byte >> bit & 1U) != 0 ? 1.0F : -1.0F);
        std::byte packed{};
        (void)codec->encode(values, {}, {&packed, 1}, {}, {});
        EXPECT_EQ(std::to_integer<unsigned>(packed), byte) << "the least significant bit first";
        EXPECT_EQ(through(*codec, values, 1), values);
    }
    Rng rng(1);
    for (std::size_t count = 0; count < 40; ++count) {
        std::vector<float> values;
        for (std::size_t i = 0; i < count; ++i) values.push_back(rng.below(2) == 0 ? 1.0F : -1.0F);
        EXPECT_EQ(through(*codec, values, (count + 7) / 8), values);
    }
}

TEST(TernaryVotes, Five_to_a_byte) {
    const auto codec = make_ternary_votes();
    Rng rng(2);
    for (std::size_t count = 0; count < 40; ++count) {
        std::vector<float> values;
        for (std::size_t i = 0; i < count; ++i) values.push_back(static_cast<float>(rng.below(3)) - 1);
        EXPECT_EQ(through(*codec, values, (count + 4) / 5), values);
    }
}

TEST(VoteCounts, Every_mean_of_every_number_of_voters_survives) {
    std::size_t bits = 0;
    for (std::size_t n = 1; n <= 64; ++n) {
        while ((std::size_t{1} << bits) < n + 1) ++bits;  // ceil(log2(n + 1))
        std::vector<float> values;
        for (std::size_t c = 0; c <= n; ++c)
            values.push_back(static_cast<float>((2 * double(c) - double(n)) / double(n)));
        EXPECT_EQ(through(*make_vote_counts(n), values, (values.size() * bits + 7) / 8), values) << n;
    }
}

// What a server would count from bit planes, bit by bit.
TEST(VoteCounts, Sums_of_decoded_signs_are_the_counts_of_the_bits) {
    Rng rng(3);
    const auto up = make_sign_votes();
    for (std::size_t n = 1; n <= 64; ++n) {
        std::vector<float> mean(100);
        std::vector<int> ones(100);
        for (std::size_t m = 0; m < n; ++m) {
            std::vector<std::byte> plane(13);
            for (std::byte& byte : plane) byte = static_cast<std::byte>(rng.bits32());
            plane[12] &= std::byte{0x0f};
            ASSERT_TRUE(up->decode(plane, mean, static_cast<float>(1 / double(n)), m > 0).ok());
            for (std::size_t i = 0; i < 100; ++i)
                ones[i] += std::to_integer<int>(plane[i / 8] >> (i % 8) & std::byte{1});
        }
        const std::vector<float> counted =
            through(*make_vote_counts(n), mean, make_vote_counts(n)->encoded_bytes(100));
        for (std::size_t i = 0; i < 100; ++i)
            EXPECT_EQ(counted[i], static_cast<float>((2.0 * ones[i] - double(n)) / double(n)));
    }
}

TEST(Votes, What_cannot_be_a_vote_is_an_error_and_changes_nothing) {
    std::vector<float> out(9, 7);
    const auto refused = [&](const Codec& codec, std::vector<unsigned char> bytes) {
        const bool ok = codec.decode(std::as_bytes(std::span(bytes)), out, 1, false).ok();
        EXPECT_EQ(out, std::vector<float>(9, 7));
        return !ok;
    };
    EXPECT_TRUE(refused(*make_sign_votes(), {1}));
    EXPECT_TRUE(refused(*make_sign_votes(), {1, 2})) << "a bit behind the last value";
    EXPECT_TRUE(refused(*make_ternary_votes(), {1, 2, 3}));
    EXPECT_TRUE(refused(*make_ternary_votes(), {0, 243}));
    EXPECT_TRUE(refused(*make_vote_counts(2), {0xff, 0xff, 0xff})) << "three votes of two voters";
    EXPECT_TRUE(refused(*make_vote_counts(2), {0, 0}));
}

}  // namespace
}  // namespace Atoll::gossip

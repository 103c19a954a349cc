// Codecs that send a part of the values, or of another basis, against sorting, cosines and matrices of known
// rank.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>

#include "base/rng.h"
#include "gossip/codec/codec.h"
#include "kernels/flat.h"
#include "kernels/sparse/top_k.h"

namespace Atoll::gossip {
namespace {

using Values = std::vector<float>;

Values normal_values(std::size_t count, std::uint64_t seed) {
    Rng rng(seed);
    Values values(count);
    for (float& value : values) value = static_cast<float>(rng.normal());
    return values;
}

Values round_trip(const Codec& codec, const Values& values, const CodecSeed& seed = {}) {
    Bytes bytes(codec.encoded_bytes(values.size()));
    codec.encode(values, {}, bytes, {}, seed);
    Values out(values.size());
    EXPECT_TRUE(codec.decode(bytes, out, 1, false).ok());
    return out;
}

double relative_error(const Values& x, const Values& decoded) {
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double difference = double{x[i]} - double{decoded[i]};
        error += difference * difference;
        norm += double{x[i]} * double{x[i]};
    }
    return std::sqrt(error / norm);
}

double cosine(const Values& x, const Values& decoded) {
    double dot = 0, a = 0, b = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        dot += double{x[i]} * double{decoded[i]};
        a += double{x[i]} * double{x[i]};
        b += double{decoded[i]} * double{decoded[i]};
    }
    return dot / std::sqrt(a * b);
}

TEST(TopK, Chooses_what_sorting_chooses_and_the_lower_index_of_equals) {
    for (const std::size_t count : {1U, 7U, 8U, 63U, 64U, 100U, 513U, 4095U, 4096U}) {
        for (const std::size_t k : {1U, 2U, 63U, 64U, 65U, 512U, 513U, 4096U}) {
            if (k > count) continue;
            Values values = normal_values(count, count + k);
            for (std::size_t i = 0; i < count; i += 3)
                values[i] = std::round(values[i] * 2) / 2;  // many equal
            std::vector<std::uint16_t> expected(count);
            std::iota(expected.begin(), expected.end(), std::uint16_t{0});
            std::ranges::stable_sort(
                expected, [&](auto a, auto b) { return std::abs(values[a]) > std::abs(values[b]); });
            expected.resize(k);
            std::ranges::sort(expected);
            std::vector<std::uint16_t> indices(k);
            kernels::top_k(values.data(), count, k, indices.data());
            ASSERT_EQ(indices, expected) << count << " " << k;
        }
    }
}

TEST(TopK, Sends_the_largest_as_a_sign_and_one_of_two_means) {
    const auto codec = make_codec("topk", {}).value();
    Values values(4096, 0.001F);
    double low = 0, high = 0;
    for (std::size_t i = 0; i < 64; ++i) {
        const float magnitude =
            i < 32 ? 1 + 0.01F * static_cast<float>(i) : 5 + 0.01F * static_cast<float>(i);
        values[i * 61] = i % 2 == 0 ? magnitude : -magnitude;
        (i < 32 ? low : high) += double{magnitude} / 32;
    }
    const Values decoded = round_trip(*codec, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double expected = std::abs(values[i]) < 0.5F ? 0 : (std::abs(values[i]) < 3 ? low : high);
        ASSERT_NEAR(decoded[i], std::copysign(expected, values[i]), expected / 256) << i;
    }
}

TEST(TopK, Costs_what_SparseLoCo_costs) {
    const auto codec = make_codec("topk", {}).value();
    const double bits = 8 * static_cast<double>(codec->encoded_bytes(1 << 24)) / (1 << 24);
    EXPECT_NEAR(bits, 0.219, 0.03 * 0.219);
    // Half of the values at density 1/2.
    const auto dense = make_codec("topk", {.density = 0.5}).value();
    EXPECT_NEAR(8 * static_cast<double>(dense->encoded_bytes(1 << 24)) / (1 << 24), 7, 0.01);
}

TEST(TopK, A_place_that_comes_twice_or_lies_outside_is_refused) {
    const auto codec = make_codec("topk", {.density = 2.0 / 4096}).value();
    Values values(100, 0.0F);
    values[3] = 1;
    values[50] = -2;
    Bytes bytes(codec->encoded_bytes(100));
    codec->encode(values, {}, bytes, {}, {});
    Values out(100);
    ASSERT_TRUE(codec->decode(bytes, out, 1, false).ok());
    EXPECT_EQ(std::ranges::count(out, 0.0F), 99);  // one of 100 at this density
    Bytes outside = bytes;
    outside[4] = std::byte{100};
    EXPECT_FALSE(codec->decode(outside, out, 1, false).ok());
}

TEST(RandomK, All_members_send_the_same_places_so_that_the_mean_there_is_exact) {
    const auto codec = make_codec("random_k", {}).value();
    const Values a = normal_values(10000, 1), b = normal_values(10000, 2);
    const CodecSeed one{.shared = 5, .own = 1}, other{.shared = 5, .own = 2};
    const Values x = round_trip(*codec, a, one), y = round_trip(*codec, b, other);
    std::size_t sent = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(x[i] != 0, y[i] != 0);
        if (x[i] == 0) continue;
        ++sent;
        EXPECT_EQ(x[i], a[i]);
        EXPECT_EQ(y[i], b[i]);
    }
    EXPECT_EQ(sent, 64U + 64U + 28U);  // 1808 values are left for the last group
    EXPECT_NE(round_trip(*codec, a, {.shared = 6}), x);
}

TEST(DctTopK, A_product_of_cosines_is_one_coefficient) {
    const auto codec = make_codec("dct_topk", {.density = 1.0 / 4096}).value();
    Values values(4096);
    const auto wave = [](std::size_t i, std::size_t f) {
        return std::cos(std::numbers::pi * static_cast<double>((2 * i + 1) * f) / 128);
    };
    for (std::size_t i = 0; i < 4096; ++i)
        values[i] = static_cast<float>(3 * wave(i / 64, 5) * wave(i % 64, 17));
    EXPECT_LT(relative_error(values, round_trip(*codec, values)), 1.0 / 256);
}

TEST(DctTopK, All_coefficients_give_the_values_back) {
    const auto codec = make_codec("dct_topk", {.density = 1}).value();
    const Values values = normal_values(5000, 3);
    EXPECT_LT(relative_error(values, round_trip(*codec, values)), 1.0 / 256);  // bf16
}

TEST(LowRank, A_matrix_of_that_rank_comes_back_and_a_vector_travels_as_it_is) {
    kernels::Layout layout;
    layout.add("matrix", {60, 90});
    layout.add("norm", {33});
    const auto codec = make_codec("low_rank", {.rank = 3, .layout = &layout}).value();
    EXPECT_EQ(codec->encoded_bytes(layout.size()), 4U * (3 * 150 + 33));
    const Values left = normal_values(60 * 3, 1), right = normal_values(90 * 3, 2),
                 rest = normal_values(33, 3);
    Values values(layout.size(), 0.0F);
    for (std::size_t i = 0; i < 60; ++i) {
        for (std::size_t j = 0; j < 90; ++j) {
            for (std::size_t r = 0; r < 3; ++r) values[i * 90 + j] += left[i * 3 + r] * right[j * 3 + r];
        }
    }
    std::ranges::copy(rest, values.begin() + static_cast<std::ptrdiff_t>(layout.slots()[1].offset));
    const Values decoded = round_trip(*codec, values, {.shared = 8});
    EXPECT_LT(relative_error(values, decoded), 1e-5);
    for (std::size_t i = 0; i < 33; ++i) EXPECT_EQ(decoded[layout.slots()[1].offset + i], rest[i]);
}

// Two iterations without a warm start come close to the best approximation: singular values 1, 1/2, 1/4, ...
TEST(LowRank, Two_iterations_are_within_a_tenth_of_the_best_error) {
    constexpr std::size_t kSide = 64;
    // Orthogonal bases: rows of the DCT.
    const auto basis = [](std::size_t f, std::size_t i) {
        return std::sqrt((f == 0 ? 1.0 : 2.0) / 64) *
               std::cos(std::numbers::pi * static_cast<double>((2 * i + 1) * f) / 128);
    };
    Values values(kSide * kSide, 0.0F);
    double best = 0, norm = 0;
    for (std::size_t f = 0; f < kSide; ++f) {
        const double singular = std::exp2(-static_cast<double>(f));
        norm += singular * singular;
        if (f >= 4) best += singular * singular;
        for (std::size_t i = 0; i < kSide * kSide; ++i) {
            values[i] +=
                static_cast<float>(singular * basis(f, i / kSide) * basis((f + 7) % kSide, i % kSide));
        }
    }
    kernels::Layout layout;
    layout.add("matrix", {kSide, kSide});
    const auto codec = make_codec("low_rank", {.rank = 4, .layout = &layout}).value();
    const double error = relative_error(values, round_trip(*codec, values, {.shared = 2}));
    EXPECT_LT(error, 1.1 * std::sqrt(best / norm));
}

TEST(Seeds, The_error_is_the_expected_one) {
    // 1 - K / (n + K - 1) of the squared norm, here with K = 1024 of n = 4096.
    const auto codec = make_codec("seeds", {.density = 0.25}).value();
    const Values values = normal_values(4096, 6);
    double sum = 0;
    for (std::uint64_t draw = 0; draw < 8; ++draw) {
        const double error = relative_error(values, round_trip(*codec, values, {.shared = draw}));
        sum += error * error / 8;
    }
    EXPECT_NEAR(sum, 1 - 1024.0 / (4096 + 1023), 0.01);
}

TEST(E3m0, Is_as_close_to_a_Gaussian_as_its_levels_allow) {
    const auto codec = make_codec("e3m0", {}).value();
    const Values values = normal_values(1 << 16, 4);
    const Values decoded = round_trip(*codec, values);
    EXPECT_LT(relative_error(values, decoded), 0.20);
    EXPECT_GT(cosine(values, decoded), 0.98);
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (std::abs(values[i]) < 0.05F) continue;  // near or below the least level
        ASSERT_LE(std::abs(values[i] - decoded[i]), std::abs(values[i]) / 3 * 1.0001F) << values[i];
        ASSERT_GT(values[i] * decoded[i], 0);
    }
}

TEST(Sign, And_ternary_have_the_errors_of_the_best_scale_on_a_Gaussian) {
    const Values values = normal_values(1 << 16, 5);
    // 1 - E|x|^2 / E x^2 = 1 - 2 / pi for one bit.
    const double sign = relative_error(values, round_trip(*make_codec("sign", {}).value(), values));
    EXPECT_NEAR(sign * sign, 1 - 2 / std::numbers::pi, 0.01);
    // Li and Liu 2016: 0.19 of the squared norm is left at threshold 0.7 E|x|.
    const double ternary = relative_error(values, round_trip(*make_codec("ternary", {}).value(), values));
    EXPECT_NEAR(ternary * ternary, 0.19, 0.01);
}

}  // namespace
}  // namespace Atoll::gossip

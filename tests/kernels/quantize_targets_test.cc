// Peers with different CPUs must encode to the same bytes and decode to the same numbers: every vector width
// gives the same bits.
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "kernels/quantize/quantize.h"

namespace Atoll::kernels {
namespace {

struct Results {
    std::vector<std::byte> bytes;
    std::vector<std::uint32_t> floats;  // bits
    bool operator==(const Results&) const = default;
    void add(const std::vector<float>& values) {
        for (const float value : values) floats.push_back(std::bit_cast<std::uint32_t>(value));
    }
};

// Everything that quantisation gives for one input, with error feedback.
Results quantize_all(const std::vector<float>& values) {
    Results results;
    const std::size_t count = values.size();
    const std::size_t scale_bytes = (count + kQuantizeBlock - 1) / kQuantizeBlock * 2;
    const auto keep = [&](std::vector<std::byte>& bytes, std::vector<float>& residual,
                          std::vector<float>& decoded) {
        results.bytes.insert(results.bytes.end(), bytes.begin(), bytes.end());
        results.add(residual);
        results.add(decoded);
    };
    for (const int format : {32, 16, 8, 4}) {
        std::vector<float> residual(count, 0.001F);
        std::vector<float> decoded(count);
        std::vector<std::byte> bytes(scale_bytes + 4 * count);
        const QuantizeInput input{values.data(), residual.data(), nullptr, count};
        const DequantizeOutput output{decoded.data(), count, 1.0F, false};
        std::byte* codes = bytes.data() + scale_bytes;
        if (format == 32) quantize_fp32(input, codes), dequantize_fp32(codes, output);
        if (format == 16) quantize_bf16(input, codes), dequantize_bf16(codes, output);
        if (format == 8)
            quantize_int8(input, bytes.data(), codes), dequantize_int8(bytes.data(), codes, output);
        if (format == 4)
            quantize_int4(input, bytes.data(), codes), dequantize_int4(bytes.data(), codes, output);
        keep(bytes, residual, decoded);
    }
    return results;
}

TEST(Quantize, Every_vector_width_gives_the_same_bits) {
    for (const std::size_t count : {1U, 77U, 256U, 1000U, 5000U}) {
        Rng rng(count);
        std::vector<float> values(count);
        for (float& value : values) {
            value = static_cast<float>(rng.normal()) * std::exp2(static_cast<float>(rng.below(60)) - 30.0F);
        }
        const Results expected = quantize_all(values);
        std::int64_t targets = hwy::SupportedTargets();
        for (; targets != 0; targets &= targets - 1) {
            hwy::GetChosenTarget().Update(targets & -targets);
            const Results results = quantize_all(values);
            hwy::GetChosenTarget().DeInit();
            EXPECT_TRUE(results == expected) << "target " << hwy::TargetName(targets & -targets);
        }
    }
}

TEST(Quantize, Sum_of_squares_is_that_of_doubles) {
    for (const std::size_t count : {0U, 1U, 7U, 8U, 33U, 10007U}) {
        Rng rng(count);
        std::vector<float> values(count);
        double expected = 0;
        for (float& value : values) {
            value = 1e20F * static_cast<float>(rng.normal());
            expected += double{value} * double{value};
        }
        EXPECT_NEAR(sum_of_squares(values.data(), count), expected, 1e-12 * expected);
        if (count == 0) continue;
        values[count / 2] = std::numeric_limits<float>::quiet_NaN();
        EXPECT_FALSE(std::isfinite(sum_of_squares(values.data(), count)));
        values[count / 2] = -std::numeric_limits<float>::infinity();
        EXPECT_FALSE(std::isfinite(sum_of_squares(values.data(), count)));
    }
}

TEST(Quantize, Squared_distance_is_that_of_doubles) {
    for (const std::size_t count : {0U, 1U, 7U, 8U, 33U, 10007U}) {
        Rng rng(count);
        std::vector<float> a(count);
        std::vector<float> b(count);
        double expected = 0;
        for (std::size_t i = 0; i < count; ++i) {
            a[i] = static_cast<float>(rng.normal());
            b[i] = static_cast<float>(rng.normal());
            expected += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
        }
        EXPECT_NEAR(squared_distance(a.data(), b.data(), count), expected, 1e-12 * expected);
    }
}

}  // namespace
}  // namespace Atoll::kernels

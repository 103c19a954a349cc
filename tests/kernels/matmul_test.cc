#include <bit>
#include <cstring>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/packed_products.h"
#include "kernels/reference.h"
#include "tests/kernels/ops_fixture.h"

namespace Atoll::kernels::testing {
namespace {

struct Shape {
    Index m, n, k;
};

// One, odd numbers, below and beyond a register tile, a cache block and a thread's tile.
const std::vector<Shape> kShapes = {{1, 1, 1},    {1, 7, 3},     {5, 1, 9},     {3, 17, 2},    {64, 64, 64},
                                    {37, 53, 71}, {130, 33, 65}, {50, 800, 48}, {9, 100, 600}, {140, 129, 70},
                                    {2, 1000, 5}, {300, 24, 24}, {70, 200, 270}};

std::size_t count(Index value) { return static_cast<std::size_t>(value); }

double bf16(double value) {
    auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
    bits += 0x7FFFU + ((bits >> 16U) & 1U);
    return static_cast<double>(std::bit_cast<float>(bits & 0xFFFF0000U));
}

Doubles rounded(Doubles values) {
    for (double& value : values) value = bf16(value);
    return values;
}

// Runs every combination of transposes, accumulation and bias of one shape through `multiply`.
template <typename Multiply>
void check_all(Ops& ops, const Shape& s, Precision precision, double tolerance, const Multiply& multiply) {
    for (int variant = 0; variant < 16; ++variant) {
        const bool transpose_a = (variant & 1) != 0;
        const bool transpose_b = (variant & 2) != 0;
        const bool accumulate = (variant & 4) != 0;
        const bool with_bias = (variant & 8) != 0;
        const Doubles a = random_doubles(count(s.m * s.k), 1);
        const Doubles b = random_doubles(count(s.k * s.n), 2);
        const Doubles bias = random_doubles(count(s.n), 3);
        Doubles c = random_doubles(count(s.m * s.n), 4);
        Guarded device_a(ops, a), device_b(ops, b), device_bias(ops, bias), device_c(ops, c);
        const bool round = precision == Precision::bf16;
        const Doubles used_a = round ? rounded(a) : a;
        const Doubles used_b = round ? rounded(b) : b;
        reference::matmul(used_a.data(), used_b.data(), with_bias ? bias.data() : nullptr, c.data(), s.m, s.n,
                          s.k, transpose_a, transpose_b, accumulate);
        multiply(Matmul{.a = device_a.data(),
                        .b = device_b.data(),
                        .c = device_c.data(),
                        .bias = with_bias ? device_bias.data() : nullptr,
                        .m = s.m,
                        .n = s.n,
                        .k = s.k,
                        .transpose_a = transpose_a,
                        .transpose_b = transpose_b,
                        .accumulate = accumulate,
                        .precision = precision,
                        .b_is_weight = variant % 3 == 0});
        ops.weights_changed();
        expect_close(device_c, c, tolerance,
                     "c " + std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k) +
                         " variant " + std::to_string(variant));
    }
}

using Matmuls = OpsSuite;

TEST_P(Matmuls, Equals_the_reference_in_fp32) {
    for (const Shape& shape : kShapes) {
        check_all(*ops, shape, Precision::fp32, 3e-6, [&](const Matmul& product) { ops->matmul(product); });
    }
}

// The rounded operands are exact in fp32, so only the sums differ: a tolerance of fp32 tells rounding from no
// rounding.
TEST_P(Matmuls, Multiplies_operands_rounded_to_bf16) {
    for (const Shape& shape : kShapes) {
        check_all(*ops, shape, Precision::bf16, 3e-6, [&](const Matmul& product) { ops->matmul(product); });
    }
}

TEST_P(Matmuls, Give_the_same_bits_every_time) {
    const Doubles a = random_doubles(200 * 300, 1);
    const Doubles b = random_doubles(300 * 500, 2);
    Guarded device_a(*ops, a), device_b(*ops, b), first(*ops, 200 * 500), second(*ops, 200 * 500);
    Matmul product{
        .a = device_a.data(), .b = device_b.data(), .c = first.data(), .m = 200, .n = 500, .k = 300};
    ops->matmul(product);
    product.c = second.data();
    ops->matmul(product);
    EXPECT_EQ(first.floats(), second.floats());
}

TEST_P(Matmuls, Bias_gradient_adds_the_column_sums) {
    for (const Shape& s : std::vector<Shape>{{1, 1, 0}, {3, 17, 0}, {70, 300, 0}, {1025, 33, 0}}) {
        const Doubles d_y = random_doubles(count(s.m * s.n), 1);
        Doubles d_bias = random_doubles(count(s.n), 2);
        Guarded device_d_y(*ops, d_y), device_d_bias(*ops, d_bias);
        ops->bias_backward(device_d_y.data(), device_d_bias.data(), s.m, s.n);
        reference::bias_backward(d_y.data(), d_bias.data(), s.m, s.n);
        expect_close(device_d_bias, d_bias, 3e-6, "d_bias");
    }
}

INSTANTIATE_TEST_SUITE_P(Devices, Matmuls, ::testing::ValuesIn(devices()), device_name);

// Which engine runs depends on the CPU; both must be right on every CPU.
class Engines : public ::testing::TestWithParam<cpu::TileEngine> {};

TEST_P(Engines, Equal_the_reference) {
    const auto ops = make_cpu_ops(1);
    cpu::Context context(3);
    cpu::Products products(context, GetParam());
    for (const Shape& shape : kShapes) {
        check_all(*ops, shape, Precision::fp32, 3e-6, [&](const Matmul& product) {
            products.weights_changed();
            products.run(product);
        });
    }
}

INSTANTIATE_TEST_SUITE_P(Cpu, Engines, ::testing::Values(cpu::TileEngine::own, cpu::TileEngine::onednn));

// oneDNN's packed path, in fp32 because not every CPU multiplies bf16.
TEST(PackedProducts, Equal_the_reference) {
    const auto ops = make_cpu_ops(1);
    for (const int threads : {1, 3}) {
        cpu::Context context(threads);
        cpu::PackedProducts products(context, cpu::Element::fp32);
        int taken = 0;
        for (const Shape& shape : kShapes) {
            check_all(*ops, shape, Precision::fp32, 3e-6, [&](const Matmul& product) {
                products.weights_changed();
                if (products.run(product)) {
                    ++taken;
                } else {
                    ops->matmul(product);
                }
            });
        }
        EXPECT_EQ(taken, 4 * 16);  // the shapes of at least 16 x 64 x 16
    }
}

TEST(PackedProducts, Pack_weights_again_only_when_told_that_they_changed) {
    const auto ops = make_cpu_ops(1);
    cpu::Context context(2);
    cpu::PackedProducts products(context, cpu::Element::fp32);
    const Doubles a = random_doubles(32 * 48, 1), b = random_doubles(48 * 160, 2);
    Guarded device_a(*ops, a), device_b(*ops, b), c(*ops, 32 * 160);
    const Matmul product{.a = device_a.data(),
                         .b = device_b.data(),
                         .c = c.data(),
                         .m = 32,
                         .n = 160,
                         .k = 48,
                         .b_is_weight = true};
    ASSERT_TRUE(products.run(product));
    ops->scale(2, device_b.data(), b.size());
    products.weights_changed();
    ASSERT_TRUE(products.run(product));
    Doubles twice = b, expected(32 * 160);
    for (double& value : twice) value *= 2;
    reference::matmul(a.data(), twice.data(), nullptr, expected.data(), 32, 160, 48, false, false, false);
    expect_close(c, expected, 3e-6, "c");
}

TEST(Bf16, Rounds_to_nearest_even_and_keeps_not_a_number) {
    cpu::Context context(1);
    Doubles values = random_doubles(1003, 1);
    values[0] = 1 + 0x1p-8;      // a tie, to even: down
    values[1] = 1 + 3 * 0x1p-8;  // a tie, to even: up
    values[2] = std::nan("");
    std::vector<float> from(values.begin(), values.end());
    std::vector<std::uint16_t> to(from.size());
    cpu::to_bf16(context, from.data(), to.data(), from.size());
    const auto widened = [&](std::size_t i) {
        return std::bit_cast<float>(static_cast<std::uint32_t>(to[i]) << 16U);
    };
    EXPECT_EQ(widened(0), 1.0F);
    EXPECT_EQ(widened(1), 1.0F + 4 * 0x1p-8F);
    EXPECT_TRUE(std::isnan(widened(2)));
    for (std::size_t i = 3; i < from.size(); ++i) EXPECT_EQ(static_cast<double>(widened(i)), bf16(values[i]));
}

}  // namespace
}  // namespace Atoll::kernels::testing

// Normal numbers from seeds: the reference's, normal, and the same bits however they are asked for.
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <vector>

#include "kernels/reference.h"
#include "tests/kernels/ops_fixture.h"

namespace Atoll::kernels::testing {
namespace {

class Normals : public OpsSuite {
  protected:
    std::vector<float> added(std::vector<NormalTerm> terms, std::size_t first, std::size_t size) {
        std::vector<float> x(size);
        Guarded memory(*ops, Doubles(size));
        ops->add_normals(terms, first, memory.data(), size);
        ops->copy_to_host(x, memory.data());
        return x;
    }
};

TEST_P(Normals, Are_those_of_the_reference) {
    for (const std::size_t first : {std::size_t{0}, std::size_t{5}, std::size_t{64}, std::size_t{1} << 38U}) {
        for (const std::size_t size : {1U, 16U, 63U, 64U, 300U}) {
            const auto z = added({{0x123456789abcdefULL, 1}}, first, size);
            for (std::size_t i = 0; i < size; ++i)
                ASSERT_NEAR(z[i], reference::normal(0x123456789abcdefULL, first + i), 2e-6) << first + i;
        }
    }
}

TEST_P(Normals, Are_those_of_the_calling_thread_bit_for_bit) {
    const std::vector<NormalTerm> terms = {{1, 0.5F}, {0xFEDCBA9876543210U, -0.01F}};
    constexpr std::size_t kFirst = (std::size_t{1} << 36U) + 7, kSize = 100000;
    std::vector<float> expected(kSize);
    kernels::add_normals(terms, kFirst, expected.data(), kSize);
    EXPECT_EQ(added(terms, kFirst, kSize), expected);
}

TEST_P(Normals, Have_the_moments_of_a_normal_distribution_and_do_not_follow_each_other) {
    constexpr std::size_t kSize = 1U << 20U;
    const auto z = added({{7, 1}}, 0, kSize);
    const auto other = added({{8, 1}}, 0, kSize);
    double mean = 0, variance = 0, fourth = 0, next = 0, across = 0, beyond = 0;
    for (std::size_t i = 0; i < kSize; ++i) {
        const double x = z[i];
        mean += x;
        variance += x * x;
        fourth += x * x * x * x;
        beyond += std::abs(x) > 1.959964 ? 1 : 0;
        if (i > 0) next += x * static_cast<double>(z[i - 1]);
        across += x * static_cast<double>(other[i]);
    }
    const double n = kSize;
    const double sigma = 1 / std::sqrt(n);  // of each mean below, times that of one term
    EXPECT_NEAR(mean / n, 0, 4 * sigma);
    EXPECT_NEAR(variance / n, 1, 4 * std::sqrt(2.0) * sigma);
    EXPECT_NEAR(fourth / n, 3, 4 * std::sqrt(96.0) * sigma);
    EXPECT_NEAR(beyond / n, 0.05, 4 * std::sqrt(0.05 * 0.95) * sigma);
    EXPECT_NEAR(next / n, 0, 4 * sigma);
    EXPECT_NEAR(across / n, 0, 4 * sigma);
}

TEST_P(Normals, Terms_at_once_give_the_bits_of_terms_one_by_one_and_of_any_cut) {
    const std::vector<NormalTerm> terms = {{1, 0.5F}, {2, -0.01F}, {3, 1e-7F}};
    const Doubles start = random_doubles(1000, 3);
    Guarded together(*ops, start), apart(*ops, start);
    ops->add_normals(terms, 40, together.data(), 1000);
    for (const NormalTerm& term : terms) {
        for (const auto& [begin, end] : {std::pair{0U, 7U}, {7U, 500U}, {500U, 1000U}}) {
            ops->add_normals(std::span(&term, 1), 40 + begin, apart.data() + begin, end - begin);
        }
    }
    std::vector<float> a(1000), b(1000);
    ops->copy_to_host(a, together.data());
    ops->copy_to_host(b, apart.data());
    EXPECT_EQ(a, b);
    ops->add_normals({}, 0, apart.data(), 1000);
    ops->copy_to_host(a, apart.data());
    EXPECT_EQ(a, b);
}

INSTANTIATE_TEST_SUITE_P(devices, Normals, ::testing::ValuesIn(devices()), device_name);

// Members with different processors rebuild each other's steps.
TEST(NormalsOnEveryProcessor, Every_vector_width_gives_the_same_bits) {
    const auto ops = make_cpu_ops(1);
    const std::vector<NormalTerm> terms = {{99, 0.3F}, {100, -2.0F}};
    const auto made = [&] {
        std::vector<float> x(10007, 0.125F);
        ops->add_normals(terms, 3, x.data(), x.size());
        return x;
    };
    const std::vector<float> expected = made();
    int widths = 0;
    for (std::int64_t targets = hwy::SupportedTargets(); targets != 0; targets &= targets - 1, ++widths) {
        hwy::GetChosenTarget().Update(targets & -targets);
        const std::vector<float> x = made();
        hwy::GetChosenTarget().DeInit();
        EXPECT_EQ(x, expected) << "target " << hwy::TargetName(targets & -targets);
    }
    EXPECT_GE(widths, 1);
}

}  // namespace
}  // namespace Atoll::kernels::testing

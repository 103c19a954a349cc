#include "model/data/shuffle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace Atoll::model {

namespace {

TEST(Permutation, Is_a_bijection_of_every_size) {
    std::vector<std::uint64_t> sizes{1000, 1023, 1024, 1025, 9999, 65536, 100'003};
    for (std::uint64_t size = 1; size <= 130; ++size) sizes.push_back(size);
    for (const std::uint64_t size : sizes) {
        const Permutation permutation(size, size * 31);
        std::vector<bool> seen(size);
        for (std::uint64_t i = 0; i < size; ++i) {
            const std::uint64_t image = permutation(i);
            ASSERT_LT(image, size);
            ASSERT_FALSE(seen[image]) << "size " << size;
            seen[image] = true;
        }
    }
}

TEST(Permutation, Stays_in_range_for_huge_sizes) {
    const std::uint64_t size = (std::uint64_t{1} << 61U) + 12345;
    const Permutation permutation(size, 1);
    for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_LT(permutation(size - 1 - i), size);
}

TEST(Permutation, Seeds_give_different_orders) {
    const Permutation a(10'000, 1);
    const Permutation b(10'000, 2);
    int equal = 0;
    for (std::uint64_t i = 0; i < 10'000; ++i) equal += a(i) == b(i) ? 1 : 0;
    EXPECT_LT(equal, 10);  // 1 is expected of two random orders; 10 or more has a chance of 1e-7
}

// Where an element lands is uniform over seeds: chi-squared over 16 cells, 15 degrees of freedom.
TEST(Permutation, Images_are_uniform_over_seeds) {
    for (const std::uint64_t index : {0U, 1U, 999U}) {
        std::vector<int> cells(16);
        constexpr int kSeeds = 16'000;
        for (std::uint64_t seed = 0; seed < kSeeds; ++seed)
            ++cells[Permutation(1000, seed)(index) * 16 / 1000];
        double chi_squared = 0;
        for (std::size_t cell = 0; cell < cells.size(); ++cell) {
            const auto first = (cell * 1000 + 15) / 16;
            const auto last = ((cell + 1) * 1000 + 15) / 16;
            const double expected = kSeeds * static_cast<double>(last - first) / 1000.0;
            chi_squared += std::pow(cells[cell] - expected, 2) / expected;
        }
        EXPECT_LT(chi_squared, 45.0) << "index " << index;  // exceeded with probability 1e-4
    }
}

// Neighbours must not stay neighbours, or batches would be runs of one document.
TEST(Permutation, Neighbours_are_parted) {
    const Permutation permutation(100'000, 5);
    int close = 0;
    for (std::uint64_t i = 0; i + 1 < 100'000; ++i) {
        const auto a = static_cast<std::int64_t>(permutation(i));
        const auto b = static_cast<std::int64_t>(permutation(i + 1));
        close += std::abs(a - b) <= 10 ? 1 : 0;
    }
    EXPECT_LT(close, 60);  // 20 expected of a random order
}

}  // namespace

}  // namespace Atoll::model

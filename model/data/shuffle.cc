#include "model/data/shuffle.h"

#include <cmath>

#include "base/check.h"
#include "base/rng.h"

namespace Atoll::model {

namespace {

constexpr std::uint64_t kRounds = 8;

std::uint64_t ceil_sqrt(std::uint64_t value) {
    auto root = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(value)));
    while (root * root < value) ++root;
    while (root > 1 && (root - 1) * (root - 1) >= value) --root;
    return root;
}

}  // namespace

Permutation::Permutation(std::uint64_t size, std::uint64_t seed)
    : size_(size), rows_(ceil_sqrt(size)), columns_(0), seed_(mix64(seed)) {
    ATOLL_CHECK(size > 0 && size < (std::uint64_t{1} << 62U));
    columns_ = (size + rows_ - 1) / rows_;
}

std::uint64_t Permutation::operator()(std::uint64_t index) const {
    ATOLL_CHECK(index < size_);
    // Each round adds a keyed hash of one half to the other, which its inverse subtracts: a bijection of the
    // grid. The walk stays on the cycle of `index`, which returns to a value below size_ because it began at
    // one.
    do {
        std::uint64_t row = index / columns_;
        std::uint64_t column = index % columns_;
        for (std::uint64_t round = 0; round < kRounds; round += 2) {
            row = (row + mix64(seed_ + mix64(column * kRounds + round)) % rows_) % rows_;
            column = (column + mix64(seed_ + mix64(row * kRounds + round + 1)) % columns_) % columns_;
        }
        index = row * columns_ + column;
    } while (index >= size_);
    return index;
}

}  // namespace Atoll::model

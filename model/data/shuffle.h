// A random order of 0..n-1 from a seed, computed element by element: no list in memory, any position at once.
#pragma once

#include <cstdint>

namespace Atoll::model {

// A bijection of 0..size-1, a pure function of (size, seed). A Feistel network over Z_a x Z_b with a*b >=
// size, and cycle walking for the few values beyond size (Black & Rogaway, "Ciphers with Arbitrary Finite
// Domains", 2002).
class Permutation {
  public:
    // Precondition: 0 < size < 2^62.
    Permutation(std::uint64_t size, std::uint64_t seed);
    // Precondition: index < size().
    [[nodiscard]] std::uint64_t operator()(std::uint64_t index) const;
    [[nodiscard]] std::uint64_t size() const { return size_; }

  private:
    std::uint64_t size_;
    std::uint64_t rows_;     // a = ceil(sqrt(size))
    std::uint64_t columns_;  // b = ceil(size / a)
    std::uint64_t seed_;
};

}  // namespace Atoll::model

// Exact selection of the largest magnitudes of a short vector.
#pragma once

#include <cstddef>
#include <cstdint>

namespace Atoll::kernels {

// Longest vector: indices fit in 12 bits.
inline constexpr std::size_t kTopKCountMax = 4096;

// Writes the indices of the k values of largest magnitude to `indices`, ascending; of equal magnitudes the
// ones with lower indices. Preconditions: count <= kTopKCountMax, k <= count, values are finite.
void top_k(const float* values, std::size_t count, std::size_t k, std::uint16_t* indices);

}  // namespace Atoll::kernels

// Tiles of the attention kernels: kTile rows of one head in shared memory, and how a block's threads share
// them.
#pragma once

#include "kernels/cuda/block.cuh"
#include "kernels/ops.h"

namespace Atoll::kernels::cuda {

inline constexpr unsigned kAttentionBlock = 128;

// A row of the tile belongs to this many neighbouring lanes of one warp.
template <int kTile>
inline constexpr int kLanesOfRow = static_cast<int>(kAttentionBlock) / kTile;

// Rows of shared memory are one float longer than the head, so that a column of them lies in different banks.
[[nodiscard]] __host__ __device__ inline Index tile_floats(int tile, Index head_dim) {
    return tile * (head_dim + 1);
}

// Rows begin..begin+kTile of a head to shared memory; zeros for those at `end` and beyond.
template <int kTile>
__device__ void load_tile(float* tile, const float* rows, Index stride, Index begin, Index end,
                          Index head_dim, float factor) {
    const auto dim = static_cast<int>(head_dim);  // 32 bits: dividing by 64 costs a call
    for (int i = static_cast<int>(threadIdx.x); i < kTile * dim; i += static_cast<int>(blockDim.x)) {
        const int row = i / dim, d = i % dim;
        tile[row * (dim + 1) + d] = begin + row < end ? factor * rows[(begin + row) * stride + d] : 0;
    }
}

__device__ inline float dot(const float* a, const float* b, Index size) {
    float total = 0;
    for (Index d = 0; d < size; ++d) total = fmaf(a[d], b[d], total);
    return total;
}

template <int kTile, typename Operation>
__device__ float fold_row(float value, Operation fold) {
    for (int distance = kLanesOfRow<kTile> / 2; distance > 0; distance /= 2) {
        value = fold(value, __shfl_xor_sync(kAllLanes, value, distance));
    }
    return value;
}

// Shared memory of one block on sm_86 and sm_89, which have the least of all cards from sm_80 on.
inline constexpr Index kSharedBytesMax = 99 * 1024;

// Of `tiles` tiles of rows and `squares` of row pairs.
[[nodiscard]] inline std::size_t shared_bytes(int tile, Index head_dim, int tiles, int squares) {
    const Index floats = tiles * tile_floats(tile, head_dim) + squares * tile_floats(tile, tile);
    return static_cast<std::size_t>(floats) * sizeof(float);
}

// Calls run.operator()<kTile>() with tiles of 32 rows where that much fits into any card, else of 16: heads
// of up to 256 elements.
template <typename Run>
void with_tile(Index head_dim, int tiles, int squares, const Run& run) {
    if (shared_bytes(32, head_dim, tiles, squares) <= kSharedBytesMax) {
        run.template operator()<32>();
    } else {
        run.template operator()<16>();
    }
}

}  // namespace Atoll::kernels::cuda

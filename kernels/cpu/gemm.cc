#include "kernels/cpu/gemm.h"

#include <hwy/cache_control.h>

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

// Register tile: kTileRows x up to 3 vectors of columns, so that the sums fill the registers (12 of 16, 24 of
// 32) and each vector of B and each broadcast of A that is loaded feeds several multiply-adds.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr Index kTileRows = 8;
#else
constexpr Index kTileRows = 4;
#endif
constexpr Index kTileVectors = 3;
constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(FloatTag()));

// Blocks: a k-block of one column panel stays in the first-level cache (256 * 24 * 4 = 24 KiB), a block of A
// in the second (128 * 256 * 4 = 128 KiB), a block of B in the third.
constexpr Index kBlockK = 256 * 8 / std::max<Index>(kLanes, 8) * (kLanes > 8 ? 3 : 2) / 2;
constexpr Index kBlockM = 128;
constexpr Index kBlockN = 32 * kTileVectors * kLanes;

// Columns are cut into panels of 3 vectors, and 2 where that avoids a panel of 1, which would leave the
// multipliers idle.
Index panel_vectors(Index columns_left) {
    const Index vectors = (columns_left + kLanes - 1) / kLanes;
    if (vectors == 4 || vectors == 2) return 2;
    return std::min(vectors, kTileVectors);
}

Index even_block(Index size, Index largest) {
    const Index blocks = (size + largest - 1) / largest;
    return (size + blocks - 1) / blocks;
}

template <class D>
hn::Vec<D> operand(D d, hn::Vec<D> v, bool round_bf16) {
    return round_bf16 ? RoundToBf16(d, v) : v;
}

float operand(float x, bool round_bf16) {
    const hn::CappedTag<float, 1> d;
    return round_bf16 ? hn::GetLane(RoundToBf16(d, hn::Set(d, x))) : x;
}

// Packs a panel: to[l * width + i] = from[i * stride + l], for i < count (zero up to width) and l < length.
void pack_across(const float* from, Index stride, Index count, Index length, Index width, bool round_bf16,
                 float* to) {
    Index i = 0;
#if HWY_TARGET != HWY_SCALAR  // 4 x 4 transposes in registers
    const hn::FixedTag<float, 4> d;
    const hn::Repartition<double, decltype(d)> pairs;
    for (; i + 4 <= count; i += 4) {
        const float* row = from + i * stride;
        Index l = 0;
        for (; l + 4 <= length; l += 4) {
            const auto r0 = operand(d, hn::LoadU(d, row + l), round_bf16);
            const auto r1 = operand(d, hn::LoadU(d, row + stride + l), round_bf16);
            const auto r2 = operand(d, hn::LoadU(d, row + 2 * stride + l), round_bf16);
            const auto r3 = operand(d, hn::LoadU(d, row + 3 * stride + l), round_bf16);
            const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
            const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
            const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
            const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
            float* out = to + l * width + i;
            hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, out);
            hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, out + width);
            hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, out + 2 * width);
            hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, out + 3 * width);
        }
        for (; l < length; ++l) {
            for (Index r = 0; r < 4; ++r) to[l * width + i + r] = operand(row[r * stride + l], round_bf16);
        }
    }
#endif
    for (; i < count; ++i) {
        for (Index l = 0; l < length; ++l) to[l * width + i] = operand(from[i * stride + l], round_bf16);
    }
    for (; i < width; ++i) {
        for (Index l = 0; l < length; ++l) to[l * width + i] = 0;
    }
}

// Packs a panel: to[l * width + i] = from[l * stride + i], for i < count (zero up to width) and l < length.
// width is a multiple of the lanes of d.
template <class D>
void pack_along(D d, const float* from, Index stride, Index count, Index length, Index width, bool round_bf16,
                float* to) {
    const auto lanes = static_cast<Index>(hn::Lanes(d));
    for (Index l = 0; l < length; ++l, from += stride, to += width) {
        Index i = 0;
        for (; i + lanes <= count; i += lanes)
            hn::StoreU(operand(d, hn::LoadU(d, from + i), round_bf16), d, to + i);
        for (; i < count; ++i) to[i] = operand(from[i], round_bf16);
        for (; i < width; ++i) to[i] = 0;
    }
}

// Panels of kTileRows rows of A, one behind the other.
void pack_a(const Gemm& p, Index m0, Index rows, Index k0, Index length, float* to) {
    const float* from = p.a + m0 * p.a_row + k0 * p.a_column;
    if (p.a_column == 1) {
        for (Index i = 0; i < rows; i += kTileRows) {
            pack_across(from + i * p.a_row, p.a_row, std::min(kTileRows, rows - i), length, kTileRows,
                        p.round_bf16, to + i * length);
        }
        return;
    }
    // A few stored rows at a time, so that each is read from end to end while its lines are near.
    constexpr Index kRows = 8;
    for (Index l = 0; l < length; l += kRows) {
        for (Index i = 0; i < rows; i += kTileRows) {
            pack_along(hn::CappedTag<float, 4>(), from + l * p.a_column + i, p.a_column,
                       std::min(kTileRows, rows - i), std::min(kRows, length - l), kTileRows, p.round_bf16,
                       to + i * length + l * kTileRows);
        }
    }
}

// Panels of columns of B, one behind the other.
void pack_b(const Gemm& p, Index k0, Index length, Index n0, Index columns, float* to) {
    const float* from = p.b + k0 * p.b_row + n0 * p.b_column;
    const Index rows = p.b_row == 1 ? length : 8;
    for (Index l = 0; l < length; l += rows) {
        const Index count = std::min(rows, length - l);
        for (Index j = 0; j < columns;) {
            const Index width = panel_vectors(columns - j) * kLanes;
            const Index used = std::min(width, columns - j);
            float* panel = to + j * length + l * width;
            if (p.b_row == 1) {
                pack_across(from + j * p.b_column, p.b_column, used, count, width, p.round_bf16, panel);
            } else {
                pack_along(FloatTag(), from + l * p.b_row + j, p.b_row, used, count, width, p.round_bf16,
                           panel);
            }
            j += used;
        }
    }
}

struct Tile {
    float* c = nullptr;
    Index c_row = 0, rows = 0, columns = 0;
    const float* bias = nullptr;  // of the first column, or nullptr
    bool accumulate = false;
};

// One register tile: kTileRows x (kVectors * lanes) sums over `length` packed rows.
template <int kVectors>
HWY_NOINLINE void multiply_tile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, Index length,
                                const Tile& tile) {
    const FloatTag d;
    using V = hn::Vec<FloatTag>;
    constexpr Index width = kVectors * kLanes;
    V sums[kTileRows][kVectors];
#pragma GCC unroll 8
    for (Index i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 3
        for (int j = 0; j < kVectors; ++j) sums[i][j] = hn::Zero(d);
    }
    for (Index i = 0; i < tile.rows; ++i) {
        hwy::Prefetch(tile.c + i * tile.c_row);
        hwy::Prefetch(tile.c + i * tile.c_row + std::min(width, tile.columns) - 1);
    }
    for (Index l = 0; l < length; ++l, a += kTileRows, b += width) {
        V row[kVectors];
#pragma GCC unroll 3
        for (int j = 0; j < kVectors; ++j) row[j] = hn::Load(d, b + j * kLanes);
#pragma GCC unroll 8
        for (Index i = 0; i < kTileRows; ++i) {
            const V x = hn::Set(d, a[i]);
#pragma GCC unroll 3
            for (int j = 0; j < kVectors; ++j) sums[i][j] = hn::MulAdd(x, row[j], sums[i][j]);
        }
    }
    if (tile.rows == kTileRows && tile.columns == width) {
#pragma GCC unroll 8
        for (Index i = 0; i < kTileRows; ++i) {
            float* c = tile.c + i * tile.c_row;
#pragma GCC unroll 3
            for (int j = 0; j < kVectors; ++j) {
                V sum = sums[i][j];
                if (tile.accumulate) sum = hn::Add(sum, hn::LoadU(d, c + j * kLanes));
                if (tile.bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, tile.bias + j * kLanes));
                hn::StoreU(sum, d, c + j * kLanes);
            }
        }
        return;
    }
    HWY_ALIGN float edge[kTileRows * width];
#pragma GCC unroll 8
    for (Index i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 3
        for (int j = 0; j < kVectors; ++j) hn::Store(sums[i][j], d, edge + i * width + j * kLanes);
    }
    for (Index i = 0; i < tile.rows; ++i) {
        for (Index j = 0; j < tile.columns; ++j) {
            float& c = tile.c[i * tile.c_row + j];
            c = edge[i * width + j] + (tile.accumulate ? c : 0) + (tile.bias != nullptr ? tile.bias[j] : 0);
        }
    }
}

void multiply(Index vectors, const float* a, const float* b, Index length, const Tile& tile) {
    switch (vectors) {
        case 1: return multiply_tile<1>(a, b, length, tile);
        case 2: return multiply_tile<2>(a, b, length, tile);
        default: return multiply_tile<3>(a, b, length, tile);
    }
}

// Rows m0..m0+rows of A, packed, times the packed block of B of `columns` columns.
void multiply_block(const Gemm& p, const float* packed_a, const float* packed_b, Index m0, Index rows,
                    Index n0, Index columns, Index length, bool first) {
    Index j = 0;
    while (j < columns) {
        const Index vectors = panel_vectors(columns - j);
        const Index width = std::min(vectors * kLanes, columns - j);
        for (Index i = 0; i < rows; i += kTileRows) {
            const Tile tile{p.c + (m0 + i) * p.c_row + n0 + j,
                            p.c_row,
                            std::min(kTileRows, rows - i),
                            width,
                            first && p.bias != nullptr ? p.bias + n0 + j : nullptr,
                            p.accumulate || !first};
            multiply(vectors, packed_a + i * length, packed_b + j * length, length, tile);
        }
        j += width;
    }
}

void GemmBlocks(const Gemm& p, float* scratch) {
    const Index block_k = even_block(p.k, kBlockK);
    float* const packed_b = scratch + kBlockM * kBlockK;
    for (Index n0 = 0; n0 < p.n; n0 += kBlockN) {
        const Index columns = std::min(kBlockN, p.n - n0);
        for (Index k0 = 0; k0 < p.k; k0 += block_k) {
            const Index length = std::min(block_k, p.k - k0);
            pack_b(p, k0, length, n0, columns, packed_b);
            for (Index m0 = 0; m0 < p.m; m0 += kBlockM) {
                const Index rows = std::min(kBlockM, p.m - m0);
                pack_a(p, m0, rows, k0, length, scratch);
                multiply_block(p, scratch, packed_b, m0, rows, n0, columns, length, k0 == 0);
            }
        }
    }
}

std::size_t GemmScratch(Index m, Index n, Index k) {
    (void)m;
    const Index length = std::min(k, kBlockK);
    const Index columns = std::min(n + kLanes, kBlockN);
    return static_cast<std::size_t>(kBlockM * kBlockK + (columns + 2 * kLanes) * length);
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(GemmBlocks);
HWY_EXPORT(GemmScratch);

void gemm(const Gemm& product, float* scratch) { HWY_DYNAMIC_DISPATCH(GemmBlocks)(product, scratch); }
std::size_t gemm_scratch(Index m, Index n, Index k) { return HWY_DYNAMIC_DISPATCH(GemmScratch)(m, n, k); }

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

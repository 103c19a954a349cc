#include <algorithm>
#include <cstring>

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/reduce.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

// Sum of x, or of its squares, over one block; four sums side by side hide the latency of the additions.
template <bool kSquare>
double BlockSum(const float* x, std::size_t size) {
    const hn::ScalableTag<double> d;
    const hn::Rebind<float, decltype(d)> df;
    using V = hn::Vec<decltype(d)>;
    const std::size_t lanes = hn::Lanes(d);
    V sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
    const auto accumulate = [&](V sum, const float* from) HWY_ATTR {
        const V value = hn::PromoteTo(d, hn::LoadU(df, from));
        return kSquare ? hn::MulAdd(value, value, sum) : hn::Add(value, sum);
    };
    std::size_t i = 0;
    for (; i + 4 * lanes <= size; i += 4 * lanes) {
        sums[0] = accumulate(sums[0], x + i);
        sums[1] = accumulate(sums[1], x + i + lanes);
        sums[2] = accumulate(sums[2], x + i + 2 * lanes);
        sums[3] = accumulate(sums[3], x + i + 3 * lanes);
    }
    double total =
        hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
    for (; i < size; ++i) {
        const auto value = static_cast<double>(x[i]);
        total += kSquare ? value * value : value;
    }
    return total;
}

double Sum(const float* x, std::size_t size) { return BlockSum<false>(x, size); }
double SquaredNorm(const float* x, std::size_t size) { return BlockSum<true>(x, size); }

// out[n] = (or += if accumulate) the sum of `rows` rows of x, `stride` floats apart.
void ColumnSum(const float* x, std::size_t rows, std::size_t stride, std::size_t columns, bool accumulate,
               float* out) {
    const FloatTag d;
    if (!accumulate) std::fill_n(out, columns, 0.0F);
    std::size_t row = 0;
    for (; row + 4 <= rows; row += 4) {
        const float* from = x + row * stride;
        ForEach(d, columns, [&](std::size_t i, auto load, auto store) HWY_ATTR {
            const auto low = hn::Add(load(from + i), load(from + stride + i));
            const auto high = hn::Add(load(from + 2 * stride + i), load(from + 3 * stride + i));
            store(out + i, hn::Add(load(out + i), hn::Add(low, high)));
        });
    }
    for (; row < rows; ++row) {
        const float* from = x + row * stride;
        ForEach(d, columns, [&](std::size_t i, auto load, auto store) HWY_ATTR {
            store(out + i, hn::Add(load(out + i), load(from + i)));
        });
    }
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(Sum);
HWY_EXPORT(SquaredNorm);
HWY_EXPORT(ColumnSum);

namespace {

// Blocks are the same whatever the number of threads, and their sums are added in order: same bits every
// time.
constexpr std::size_t kBlock = std::size_t{1} << 16U;

template <typename BlockSum>
double blockwise(Context& context, const float* x, std::size_t size, const BlockSum& block_sum) {
    const std::size_t blocks = (size + kBlock - 1) / kBlock;
    float* const partial = context.shared_scratch(2 * blocks);  // doubles, two floats wide
    context.run(blocks, [&](std::size_t, std::size_t block) {
        const double part = block_sum(x + block * kBlock, std::min(kBlock, size - block * kBlock));
        std::memcpy(partial + 2 * block, &part, sizeof part);
    });
    double total = 0;
    for (std::size_t block = 0; block < blocks; ++block) {
        double part = 0;
        std::memcpy(&part, partial + 2 * block, sizeof part);
        total += part;
    }
    return total;
}

}  // namespace

double sum(Context& context, const float* x, std::size_t size) {
    return blockwise(context, x, size, [](const float* from, std::size_t count) {
        return HWY_DYNAMIC_DISPATCH(Sum)(from, count);
    });
}

double squared_norm(Context& context, const float* x, std::size_t size) {
    return blockwise(context, x, size, [](const float* from, std::size_t count) {
        return HWY_DYNAMIC_DISPATCH(SquaredNorm)(from, count);
    });
}

void add_column_sums(Context& context, const float* x, std::size_t rows, std::size_t stride,
                     std::size_t columns, float* out) {
    constexpr std::size_t kColumns = 256;
    context.pool().range(columns, kColumns, [&](std::size_t begin, std::size_t end) {
        HWY_DYNAMIC_DISPATCH(ColumnSum)(x + begin, rows, stride, end - begin, true, out + begin);
    });
}

void bias_backward(Context& context, const float* d_y, float* d_bias, Index m, Index n) {
    const auto rows = static_cast<std::size_t>(m);
    const auto columns = static_cast<std::size_t>(n);
    const std::size_t block = row_block(rows);
    const std::size_t blocks = (rows + block - 1) / block;
    float* const partial = context.shared_scratch(blocks * columns);
    context.run(blocks, [&](std::size_t, std::size_t part) {
        HWY_DYNAMIC_DISPATCH(ColumnSum)
        (d_y + part * block * columns, std::min(block, rows - part * block), columns, columns, false,
         partial + part * columns);
    });
    add_column_sums(context, partial, blocks, columns, columns, d_bias);
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

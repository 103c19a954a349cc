#include <algorithm>
#include <cmath>

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/layernorm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

struct Moments {
    float mean, rstd;
};

// Two passes over the row, which lies in the first-level cache: the variance does not cancel.
Moments RowMoments(const float* x, std::size_t channels, float epsilon) {
    const FloatTag d;
    const auto count = static_cast<float>(channels);
    const float mean =
        Fold(d, channels,
             [&](std::size_t i, auto load, auto sum) HWY_ATTR { return hn::Add(sum, load(x + i)); }) /
        count;
    const auto center = hn::Set(d, mean);
    const float squares = Fold(d, channels, [&](std::size_t i, auto load, auto sum) HWY_ATTR {
        const auto difference = hn::Sub(load(x + i, mean), center);
        return hn::MulAdd(difference, difference, sum);
    });
    return {mean, 1.0F / std::sqrt(squares / count + epsilon)};
}

void LayerNormRow(const float* x, const float* residual_in, float* residual_out, const float* weight,
                  const float* bias, float* y, float* mean, float* rstd, std::size_t channels,
                  float epsilon) {
    const FloatTag d;
    if (residual_in != nullptr) {
        ForEach(d, channels, [&](std::size_t i, auto load, auto store) HWY_ATTR {
            store(residual_out + i, hn::Add(load(x + i), load(residual_in + i)));
        });
        x = residual_out;
    }
    const Moments moments = RowMoments(x, channels, epsilon);
    *mean = moments.mean;
    *rstd = moments.rstd;
    const auto scale = hn::Set(d, moments.rstd);
    const auto shift = hn::Set(d, -moments.mean * moments.rstd);
    ForEach(d, channels, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        store(y + i, hn::MulAdd(hn::MulAdd(load(x + i), scale, shift), load(weight + i), load(bias + i)));
    });
}

// With n = (x - mean) rstd and g = d_y weight: d_x = rstd (g - mean(g) - n mean(g n)).
void LayerNormRowBackward(const float* x, const float* weight, float mean, float rstd, const float* d_y,
                          float* d_x, float* d_weight, float* d_bias, std::size_t channels, bool accumulate) {
    const FloatTag d;
    const auto scale = hn::Set(d, rstd);
    const auto shift = hn::Set(d, -mean * rstd);
    const auto count = static_cast<float>(channels);
    const float mean_g = Fold(d, channels,
                              [&](std::size_t i, auto load, auto sum)
                                  HWY_ATTR { return hn::MulAdd(load(d_y + i), load(weight + i), sum); }) /
                         count;
    const float mean_gn = Fold(d, channels,
                               [&](std::size_t i, auto load, auto sum) HWY_ATTR {
                                   const auto normal = hn::MulAdd(load(x + i), scale, shift);
                                   return hn::MulAdd(hn::Mul(load(d_y + i), load(weight + i)), normal, sum);
                               }) /
                          count;
    const auto first = hn::Set(d, mean_g);
    const auto second = hn::Set(d, mean_gn);
    ForEach(d, channels, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const auto upstream = load(d_y + i);
        const auto normal = hn::MulAdd(load(x + i), scale, shift);
        store(d_weight + i, hn::MulAdd(upstream, normal, load(d_weight + i)));
        store(d_bias + i, hn::Add(upstream, load(d_bias + i)));
        const auto centered = hn::Sub(hn::Mul(upstream, load(weight + i)), first);
        const auto gradient = hn::Mul(scale, hn::NegMulAdd(normal, second, centered));
        store(d_x + i, accumulate ? hn::Add(gradient, load(d_x + i)) : gradient);
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(LayerNormRow);
HWY_EXPORT(LayerNormRowBackward);

void layernorm_forward(Context& context, const float* x, const float* residual_in, float* residual_out,
                       const float* weight, const float* bias, float* y, float* mean, float* rstd, Index rows,
                       Index channels, float epsilon) {
    const auto size = static_cast<std::size_t>(channels);
    context.pool().range(static_cast<std::size_t>(rows), 16, [&](std::size_t begin, std::size_t end) {
        for (std::size_t row = begin; row < end; ++row) {
            const std::size_t at = row * size;
            const bool residual = residual_in != nullptr;
            HWY_DYNAMIC_DISPATCH(LayerNormRow)
            (x + at, residual ? residual_in + at : nullptr, residual ? residual_out + at : nullptr, weight,
             bias, y + at, mean + row, rstd + row, size, epsilon);
        }
    });
}

void layernorm_backward(Context& context, const float* x, const float* weight, const float* mean,
                        const float* rstd, const float* d_y, float* d_x, float* d_weight, float* d_bias,
                        Index rows, Index channels, bool accumulate) {
    const auto count = static_cast<std::size_t>(rows);
    const auto size = static_cast<std::size_t>(channels);
    const std::size_t block = row_block(count);
    const std::size_t blocks = (count + block - 1) / block;
    float* const partial = context.shared_scratch(2 * blocks * size);  // [block][weight, bias][channel]
    context.run(blocks, [&](std::size_t, std::size_t part) {
        float* const sums = partial + 2 * part * size;
        std::fill_n(sums, 2 * size, 0.0F);
        for (std::size_t row = part * block; row < std::min(count, (part + 1) * block); ++row) {
            const std::size_t at = row * size;
            HWY_DYNAMIC_DISPATCH(LayerNormRowBackward)
            (x + at, weight, mean[row], rstd[row], d_y + at, d_x + at, sums, sums + size, size, accumulate);
        }
    });
    add_column_sums(context, partial, blocks, 2 * size, size, d_weight);
    add_column_sums(context, partial + size, blocks, 2 * size, size, d_bias);
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

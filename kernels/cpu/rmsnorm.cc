#include <algorithm>
#include <cmath>

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rmsnorm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

void RmsNormRow(const float* x, const float* residual_in, float* residual_out, const float* weight, float* y,
                float* rstd, std::size_t channels, float epsilon) {
    const FloatTag d;
    if (residual_in != nullptr) {
        ForEach(d, channels, [&](std::size_t i, auto load, auto store) HWY_ATTR {
            store(residual_out + i, hn::Add(load(x + i), load(residual_in + i)));
        });
        x = residual_out;
    }
    const float squares = Fold(d, channels, [&](std::size_t i, auto load, auto sum) HWY_ATTR {
        const auto value = load(x + i);
        return hn::MulAdd(value, value, sum);
    });
    *rstd = 1.0F / std::sqrt(squares / static_cast<float>(channels) + epsilon);
    const auto scale = hn::Set(d, *rstd);
    ForEach(d, channels, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const auto normal = hn::Mul(load(x + i), scale);
        store(y + i, weight == nullptr ? normal : hn::Mul(normal, load(weight + i)));
    });
}

// With n = x rstd and g = d_y weight: d_x = rstd (g - n mean(g n)).
void RmsNormRowBackward(const float* x, const float* weight, float rstd, const float* d_y, float* d_x,
                        float* d_weight, std::size_t channels, bool accumulate) {
    const FloatTag d;
    const auto scale = hn::Set(d, rstd);
    const float mean_gn =
        Fold(d, channels,
             [&](std::size_t i, auto load, auto sum) HWY_ATTR {
                 const auto g = weight == nullptr ? load(d_y + i) : hn::Mul(load(d_y + i), load(weight + i));
                 return hn::MulAdd(g, hn::Mul(load(x + i), scale), sum);
             }) /
        static_cast<float>(channels);
    const auto share = hn::Set(d, mean_gn);
    ForEach(d, channels, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const auto upstream = load(d_y + i);
        const auto normal = hn::Mul(load(x + i), scale);
        if (d_weight != nullptr) store(d_weight + i, hn::MulAdd(upstream, normal, load(d_weight + i)));
        const auto g = weight == nullptr ? upstream : hn::Mul(upstream, load(weight + i));
        const auto gradient = hn::Mul(scale, hn::NegMulAdd(normal, share, g));
        store(d_x + i, accumulate ? hn::Add(gradient, load(d_x + i)) : gradient);
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(RmsNormRow);
HWY_EXPORT(RmsNormRowBackward);

void rmsnorm_forward(Context& context, const float* x, const float* residual_in, float* residual_out,
                     const float* weight, float* y, float* rstd, Index rows, Index channels, float epsilon) {
    const auto size = static_cast<std::size_t>(channels);
    context.pool().range(static_cast<std::size_t>(rows), 16, [&](std::size_t begin, std::size_t end) {
        for (std::size_t row = begin; row < end; ++row) {
            const std::size_t at = row * size;
            const bool residual = residual_in != nullptr;
            HWY_DYNAMIC_DISPATCH(RmsNormRow)
            (x + at, residual ? residual_in + at : nullptr, residual ? residual_out + at : nullptr, weight,
             y + at, rstd + row, size, epsilon);
        }
    });
}

void rmsnorm_backward(Context& context, const float* x, const float* weight, const float* rstd,
                      const float* d_y, float* d_x, float* d_weight, Index rows, Index channels,
                      bool accumulate) {
    const auto count = static_cast<std::size_t>(rows);
    const auto size = static_cast<std::size_t>(channels);
    const std::size_t block = row_block(count);
    const std::size_t blocks = (count + block - 1) / block;
    float* const partial = d_weight == nullptr ? nullptr : context.shared_scratch(blocks * size);
    context.run(blocks, [&](std::size_t, std::size_t part) {
        float* const sums = partial == nullptr ? nullptr : partial + part * size;
        if (sums != nullptr) std::fill_n(sums, size, 0.0F);
        for (std::size_t row = part * block; row < std::min(count, (part + 1) * block); ++row) {
            const std::size_t at = row * size;
            HWY_DYNAMIC_DISPATCH(RmsNormRowBackward)
            (x + at, weight, rstd[row], d_y + at, d_x + at, sums, size, accumulate);
        }
    });
    if (partial != nullptr) add_column_sums(context, partial, blocks, size, size, d_weight);
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

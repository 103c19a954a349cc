#include <cmath>

#include "kernels/cpu/loops.h"

#ifndef ATOLL_KERNELS_CPU_ADAMW_FACTORS_
#define ATOLL_KERNELS_CPU_ADAMW_FACTORS_
namespace Atoll::kernels::cpu {
struct AdamWFactors {
    float beta1, rest1, beta2, rest2, gradient_scale, decay, step_size, root_scale, epsilon;
};
}  // namespace Atoll::kernels::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/optimizer_step.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

void AdamW(const AdamWFactors& f, float* parameters, const float* gradients, float* m, float* v,
           std::size_t size) {
    const FloatTag d;
    const auto beta1 = hn::Set(d, f.beta1);
    const auto rest1 = hn::Set(d, f.rest1);
    const auto beta2 = hn::Set(d, f.beta2);
    const auto rest2 = hn::Set(d, f.rest2);
    const auto gradient_scale = hn::Set(d, f.gradient_scale);
    const auto decay = hn::Set(d, f.decay);
    const auto step_size = hn::Set(d, f.step_size);
    const auto root_scale = hn::Set(d, f.root_scale);
    const auto epsilon = hn::Set(d, f.epsilon);
    ForEach(d, size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const auto g = hn::Mul(gradient_scale, load(gradients + i));
        const auto first = hn::MulAdd(beta1, load(m + i), hn::Mul(rest1, g));
        const auto second = hn::MulAdd(beta2, load(v + i), hn::Mul(hn::Mul(rest2, g), g));
        store(m + i, first);
        store(v + i, second);
        const auto denominator = hn::MulAdd(hn::Sqrt(second), root_scale, epsilon);
        const auto decayed = hn::Mul(decay, load(parameters + i));
        store(parameters + i, hn::NegMulAdd(step_size, hn::Div(first, denominator), decayed));
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(AdamW);

// Everything that does not depend on the element is computed once, in double: with c1 = 1 - beta1^t, c2 = 1 -
// beta2^t, p = (1 - lr decay) p - (lr / c1) m / (sqrt(v) / sqrt(c2) + epsilon).
void adamw(Context& context, const AdamWStep& s) {
    const double beta1 = static_cast<double>(s.beta1);
    const double beta2 = static_cast<double>(s.beta2);
    const double rate = static_cast<double>(s.learning_rate);
    const auto step = static_cast<double>(s.step);
    const AdamWFactors factors{
        .beta1 = s.beta1,
        .rest1 = static_cast<float>(1 - beta1),
        .beta2 = s.beta2,
        .rest2 = static_cast<float>(1 - beta2),
        .gradient_scale = s.gradient_scale,
        .decay = static_cast<float>(1 - rate * static_cast<double>(s.weight_decay)),
        .step_size = static_cast<float>(rate / (1 - std::pow(beta1, step))),
        .root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, step))),
        .epsilon = s.epsilon,
    };
    constexpr std::size_t kGrain = 4096;
    context.pool().range(s.size, kGrain, [&](std::size_t begin, std::size_t end) {
        HWY_DYNAMIC_DISPATCH(AdamW)
        (factors, s.parameters + begin, s.gradients + begin, s.m + begin, s.v + begin, end - begin);
    });
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

#include <algorithm>
#include <cstring>

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/update.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

using V = hn::Vec<FloatTag>;

HWY_INLINE V value(float x) { return hn::Set(FloatTag(), x); }

// beta state + (1 - beta) x, the second weight rounded once from double
HWY_INLINE V average(float beta, V state, V x) {
    const auto rest = static_cast<float>(1 - static_cast<double>(beta));
    return hn::MulAdd(value(beta), state, hn::Mul(value(rest), x));
}

HWY_INLINE V sign(V x) {
    const FloatTag d;
    return hn::IfThenZeroElse(hn::Eq(x, hn::Zero(d)), hn::CopySign(value(1), x));
}

HWY_INLINE V denominator(float root_scale, V v, float epsilon) {
    return hn::MulAdd(hn::Sqrt(v), value(root_scale), value(epsilon));
}

void Apply(const AdamUpdate& s, std::size_t begin, std::size_t end) {
    float *const x = s.at.parameters + begin, *const m = s.m + begin, *const v = s.v + begin;
    const float* const gradients = s.at.gradients + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V first = average(s.beta1, load(m + i), g);
        const V second = average(s.beta2, load(v + i), hn::Mul(g, g));
        store(m + i, first);
        store(v + i, second);
        const V ratio = hn::Div(first, denominator(s.root_scale, second, s.epsilon));
        store(x + i, hn::NegMulAdd(value(s.rate), ratio, hn::Mul(value(s.at.decay), load(x + i))));
    });
}

void Apply(const AdoptUpdate& s, std::size_t begin, std::size_t end) {
    float *const x = s.at.parameters + begin, *const m = s.m + begin, *const v = s.v + begin;
    const float* const gradients = s.at.gradients + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V before = load(v + i);
        const V ratio = hn::Div(g, hn::Max(hn::Sqrt(before), value(s.epsilon)));
        const V normalized = hn::Min(hn::Max(ratio, value(-s.clip)), value(s.clip));
        const V first = average(s.beta1, load(m + i), normalized);
        store(m + i, first);
        store(v + i, average(s.beta2, before, hn::Mul(g, g)));
        store(x + i, hn::NegMulAdd(value(s.rate), first, hn::Mul(value(s.at.decay), load(x + i))));
    });
}

void Apply(const AdemamixUpdate& s, std::size_t begin, std::size_t end) {
    float *const x = s.at.parameters + begin, *const m = s.m + begin, *const v = s.v + begin;
    float* const slow = s.slow + begin;
    const float* const gradients = s.at.gradients + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V first = average(s.beta1, load(m + i), g);
        const V second = average(s.beta2, load(v + i), hn::Mul(g, g));
        const V third = average(s.beta3, load(slow + i), g);
        store(m + i, first);
        store(v + i, second);
        store(slow + i, third);
        const V mixed = hn::MulAdd(value(s.alpha), third, hn::Mul(value(s.mean_scale), first));
        const V ratio = hn::Div(mixed, denominator(s.root_scale, second, s.epsilon));
        store(x + i, hn::NegMulAdd(value(s.rate), ratio, hn::Mul(value(s.at.decay), load(x + i))));
    });
}

void Apply(const LionUpdate& s, std::size_t begin, std::size_t end) {
    float *const x = s.at.parameters + begin, *const m = s.m + begin;
    const float* const gradients = s.at.gradients + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V before = load(m + i);
        const V direction = sign(average(s.beta1, before, g));
        store(m + i, average(s.beta2, before, g));
        store(x + i, hn::NegMulAdd(value(s.rate), direction, hn::Mul(value(s.at.decay), load(x + i))));
    });
}

void Apply(const SignumUpdate& s, std::size_t begin, std::size_t end) {
    float *const x = s.at.parameters + begin, *const m = s.m + begin;
    const float* const gradients = s.at.gradients + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V first = hn::MulAdd(value(s.beta), load(m + i), g);
        store(m + i, first);
        const V ahead = hn::MulAdd(value(s.momentum_weight), first, hn::Mul(value(s.gradient_weight), g));
        store(x + i, hn::NegMulAdd(value(s.rate), sign(ahead), hn::Mul(value(s.at.decay), load(x + i))));
    });
}

void Apply(const MarsUpdate& s, std::size_t begin, std::size_t end) {
    float *const x = s.at.parameters + begin, *const m = s.m + begin, *const v = s.v + begin;
    float* const previous = s.previous + begin;
    const float* const gradients = s.at.gradients + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V change = hn::Sub(g, load(previous + i));
        store(previous + i, g);
        const V c = hn::Mul(value(s.scale), hn::MulAdd(value(s.correction), change, g));
        const V first = average(s.beta1, load(m + i), c);
        const V second = average(s.beta2, load(v + i), hn::Mul(c, c));
        store(m + i, first);
        store(v + i, second);
        const V ratio = hn::Div(first, denominator(s.root_scale, second, s.epsilon));
        store(x + i, hn::NegMulAdd(value(s.rate), ratio, hn::Mul(value(s.at.decay), load(x + i))));
    });
}

void Apply(const ScheduleFreeUpdate& s, std::size_t begin, std::size_t end) {
    float *const x = s.at.parameters + begin, *const lead = s.lead + begin, *const v = s.v + begin;
    const float* const gradients = s.at.gradients + begin;
    const auto behind = static_cast<float>(1 - static_cast<double>(s.beta1));
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V before = load(lead + i);
        const V average_point = load(x + i);
        const V y = hn::MulAdd(value(behind), before, average_point);
        const V second = average(s.beta2, load(v + i), hn::Mul(g, g));
        store(v + i, second);
        const V ratio = hn::Div(g, denominator(s.root_scale, second, s.epsilon));
        const V direction = hn::MulAdd(value(s.weight_decay), y, ratio);
        const V ahead = hn::NegMulAdd(value(s.rate), direction, before);
        store(x + i, hn::MulAdd(value(s.share), ahead, average_point));
        store(lead + i, hn::Mul(value(1 - s.share), ahead));
    });
}

void Apply(const SophiaUpdate& s, std::size_t begin, std::size_t end) {
    float *const x = s.at.parameters + begin, *const m = s.m + begin;
    const float *const gradients = s.at.gradients + begin, *const h = s.h + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V first = average(s.beta1, load(m + i), g);
        store(m + i, first);
        const V ratio = hn::Div(first, hn::MulAdd(value(s.curvature_scale), load(h + i), value(s.floor)));
        const V cut = hn::Min(hn::Max(ratio, value(-1)), value(1));
        store(x + i, hn::NegMulAdd(value(s.rate), cut, hn::Mul(value(s.at.decay), load(x + i))));
    });
}

void Apply(const ProdigyUpdate& s, std::size_t begin, std::size_t end) {
    float* const x = s.at.parameters + begin;
    const float *const m = s.m + begin, *const v = s.v + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V ratio = hn::Div(load(m + i), denominator(1, load(v + i), s.epsilon));
        // Where m, v and epsilon are all zero nothing has moved yet.
        const V moved = hn::IfThenZeroElse(hn::Eq(load(m + i), hn::Zero(FloatTag())), ratio);
        store(x + i, hn::NegMulAdd(value(s.rate), moved, hn::Mul(value(s.at.decay), load(x + i))));
    });
}

void Apply(const SquareUpdate& s, std::size_t begin, std::size_t end) {
    float* const v = s.v + begin;
    const float* const gradients = s.at.gradients + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        store(v + i, average(s.beta, load(v + i), hn::Mul(g, g)));
    });
}

void Apply(const MomentumUpdate& s, std::size_t begin, std::size_t end) {
    float *const m = s.m + begin, *const out = s.out + begin;
    const float* const gradients = s.at.gradients + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V first = hn::MulAdd(value(s.beta), load(m + i), hn::Mul(value(s.gradient_weight), g));
        store(m + i, first);
        store(out + i, hn::MulAdd(value(s.momentum_weight), first, hn::Mul(value(s.lookahead), g)));
    });
}

void Apply(const PreconditionUpdate& s, std::size_t begin, std::size_t end) {
    float *const v = s.v + begin, *const out = s.out + begin;
    const float *const gradients = s.at.gradients + begin, *const m = s.m + begin;
    ForEach(FloatTag(), end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V second = average(s.beta, load(v + i), hn::Mul(g, g));
        store(v + i, second);
        store(out + i, hn::Div(load(m + i), denominator(1, second, s.epsilon)));
    });
}

void ApplyRange(const Update& update, std::size_t begin, std::size_t end) {
    std::visit([&](const auto& step) { Apply(step, begin, end); }, update);
}

void ApplyRow(const RowAdamUpdate& s, std::size_t row) {
    const FloatTag d;
    const std::size_t at = row * s.columns;
    const float* const gradients = s.at.gradients + at;
    const float squares = Fold(d, s.columns, [&](std::size_t i, auto load, V sum) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        return hn::MulAdd(g, g, sum);
    });
    const double beta2 = static_cast<double>(s.beta2);
    const double mean = static_cast<double>(squares) / static_cast<double>(s.columns);
    s.v[row] = static_cast<float>(beta2 * static_cast<double>(s.v[row]) + (1 - beta2) * mean);
    const V below = denominator(s.root_scale, value(s.v[row]), s.epsilon);
    float *const x = s.at.parameters + at, *const m = s.m + at;
    ForEach(d, s.columns, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        const V first = average(s.beta1, load(m + i), g);
        store(m + i, first);
        const V ratio = hn::Div(first, below);
        store(x + i, hn::NegMulAdd(value(s.rate), ratio, hn::Mul(value(s.at.decay), load(x + i))));
    });
}

// Sums of up to a few thousand elements in float, side by side; the caller adds the parts up in double.
ProdigySums Moments(const ProdigyMoments& s, std::size_t begin, std::size_t end) {
    const FloatTag d;
    const float *const x = s.at.parameters + begin, *const start = s.start + begin;
    const float* const gradients = s.at.gradients + begin;
    float *const m = s.m + begin, *const v = s.v + begin, *const sums = s.s + begin;
    V toward_start = hn::Zero(d), absolute = hn::Zero(d);
    ForEach(d, end - begin, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const V g = hn::Mul(value(s.at.gradient_scale), load(gradients + i));
        toward_start = hn::MulAdd(g, hn::Sub(load(start + i), load(x + i)), toward_start);
        store(m + i, hn::MulAdd(value(s.beta1), load(m + i), hn::Mul(value(s.first_weight), g)));
        const V square = hn::Mul(hn::Mul(value(s.second_weight), g), g);
        store(v + i, hn::MulAdd(value(s.beta2), load(v + i), square));
        const V sum = hn::MulAdd(value(s.beta3), load(sums + i), hn::Mul(value(s.sum_weight), g));
        store(sums + i, sum);
        absolute = hn::Add(absolute, hn::Abs(sum));
    });
    return {static_cast<double>(hn::GetLane(hn::SumOfLanes(d, toward_start))),
            static_cast<double>(hn::GetLane(hn::SumOfLanes(d, absolute)))};
}

float SquaredSum(float a, const float* x, float b, const float* y, std::size_t size) {
    return Fold(FloatTag(), size, [&](std::size_t i, auto load, V sum) HWY_ATTR {
        const V z = hn::MulAdd(value(a), load(x + i), hn::Mul(value(b), load(y + i)));
        return hn::MulAdd(z, z, sum);
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(ApplyRange);
HWY_EXPORT(ApplyRow);
HWY_EXPORT(Moments);
HWY_EXPORT(SquaredSum);

namespace {

// Parts are the same whatever the number of threads, and their sums are added in order: same bits every time.
constexpr std::size_t kPart = 4096;

}  // namespace

void update(Context& context, const Update& update) {
    const std::size_t size = std::visit([](const auto& step) { return step.at.size; }, update);
    context.pool().range(size, kPart, [&](std::size_t begin, std::size_t end) {
        HWY_DYNAMIC_DISPATCH(ApplyRange)(update, begin, end);
    });
}

void update_rows(Context& context, const RowAdamUpdate& update) {
    const std::size_t rows = update.at.size / update.columns;
    const std::size_t grain = std::max<std::size_t>(kPart / update.columns, 1);
    context.pool().range(rows, grain, [&](std::size_t begin, std::size_t end) {
        for (std::size_t row = begin; row < end; ++row) HWY_DYNAMIC_DISPATCH(ApplyRow)(update, row);
    });
}

ProdigySums prodigy_moments(Context& context, const ProdigyMoments& step) {
    const std::size_t parts = (step.at.size + kPart - 1) / kPart;
    std::vector<ProdigySums> partial(parts);
    context.run(parts, [&](std::size_t, std::size_t part) {
        const std::size_t begin = part * kPart;
        partial[part] = HWY_DYNAMIC_DISPATCH(Moments)(step, begin, std::min(begin + kPart, step.at.size));
    });
    ProdigySums total;
    for (const ProdigySums& part : partial) {
        total.toward_start += part.toward_start;
        total.absolute += part.absolute;
    }
    return total;
}

double squared_norm_of_sum(Context& context, float a, const float* x, float b, const float* y,
                           std::size_t size) {
    const std::size_t parts = (size + kPart - 1) / kPart;
    std::vector<float> partial(parts);
    context.run(parts, [&](std::size_t, std::size_t part) {
        const std::size_t begin = part * kPart;
        partial[part] =
            HWY_DYNAMIC_DISPATCH(SquaredSum)(a, x + begin, b, y + begin, std::min(kPart, size - begin));
    });
    double total = 0;
    for (const float part : partial) total += static_cast<double>(part);
    return total;
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

// 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
constexpr float kTwoRoot = 1.5957691216057308F;  // 2 sqrt(2/pi)
constexpr float kCubic = 0.044715F;

void Gelu(const float* x, float* y, std::size_t size) {
    const FloatTag d;
    ForEach(d, size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const auto v = load(x + i);
        const auto inner = hn::MulAdd(hn::Mul(hn::Set(d, kCubic), v), hn::Mul(v, v), v);
        store(y + i, hn::Mul(v, Sigmoid(d, hn::Mul(hn::Set(d, kTwoRoot), inner))));
    });
}

// With s = sigmoid(2u): y' = s + x s (1 - s) 2u'
void GeluBackward(const float* x, const float* d_y, float* d_x, std::size_t size) {
    const FloatTag d;
    ForEach(d, size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const auto v = load(x + i);
        const auto square = hn::Mul(v, v);
        const auto inner = hn::MulAdd(hn::Mul(hn::Set(d, kCubic), v), square, v);
        const auto s = Sigmoid(d, hn::Mul(hn::Set(d, kTwoRoot), inner));
        const auto slope = hn::MulAdd(hn::Set(d, 3 * kTwoRoot * kCubic), square, hn::Set(d, kTwoRoot));
        const auto derivative = hn::MulAdd(hn::Mul(hn::Mul(v, s), hn::Sub(hn::Set(d, 1.0F), s)), slope, s);
        store(d_x + i, hn::Mul(load(d_y + i), derivative));
    });
}

void Swiglu(const float* gate, const float* up, float* y, std::size_t size) {
    const FloatTag d;
    ForEach(d, size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const auto g = load(gate + i);
        store(y + i, hn::Mul(hn::Mul(g, Sigmoid(d, g)), load(up + i)));
    });
}

void SwigluBackward(const float* gate, const float* up, const float* d_y, float* d_gate, float* d_up,
                    std::size_t size) {
    const FloatTag d;
    ForEach(d, size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        const auto g = load(gate + i);
        const auto u = load(up + i);
        const auto upstream = load(d_y + i);
        const auto one = hn::Set(d, 1.0F);
        const auto s = Sigmoid(d, g);
        const auto silu = hn::Mul(g, s);
        store(d_up + i, hn::Mul(upstream, silu));
        const auto derivative = hn::MulAdd(silu, hn::Sub(one, s), s);
        store(d_gate + i, hn::Mul(hn::Mul(upstream, u), derivative));
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(Gelu);
HWY_EXPORT(GeluBackward);
HWY_EXPORT(Swiglu);
HWY_EXPORT(SwigluBackward);

namespace {
constexpr std::size_t kGrain = 4096;
}

void gelu_forward(Context& context, const float* x, float* y, std::size_t size) {
    context.pool().range(size, kGrain, [&](std::size_t begin, std::size_t end) {
        HWY_DYNAMIC_DISPATCH(Gelu)(x + begin, y + begin, end - begin);
    });
}

void gelu_backward(Context& context, const float* x, const float* d_y, float* d_x, std::size_t size) {
    context.pool().range(size, kGrain, [&](std::size_t begin, std::size_t end) {
        HWY_DYNAMIC_DISPATCH(GeluBackward)(x + begin, d_y + begin, d_x + begin, end - begin);
    });
}

void swiglu_forward(Context& context, const float* gate_up, float* y, Index rows, Index inner) {
    const auto size = static_cast<std::size_t>(inner);
    context.pool().range(static_cast<std::size_t>(rows), kGrain / size + 1,
                         [&](std::size_t begin, std::size_t end) {
                             for (std::size_t row = begin; row < end; ++row) {
                                 const float* gate = gate_up + 2 * row * size;
                                 HWY_DYNAMIC_DISPATCH(Swiglu)(gate, gate + size, y + row * size, size);
                             }
                         });
}

void swiglu_backward(Context& context, const float* gate_up, const float* d_y, float* d_gate_up, Index rows,
                     Index inner) {
    const auto size = static_cast<std::size_t>(inner);
    context.pool().range(static_cast<std::size_t>(rows), kGrain / size + 1,
                         [&](std::size_t begin, std::size_t end) {
                             for (std::size_t row = begin; row < end; ++row) {
                                 const float* gate = gate_up + 2 * row * size;
                                 float* d_gate = d_gate_up + 2 * row * size;
                                 HWY_DYNAMIC_DISPATCH(SwigluBackward)
                                 (gate, gate + size, d_y + row * size, d_gate, d_gate + size, size);
                             }
                         });
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

#include <algorithm>

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/elementwise.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

void Axpy(float alpha, const float* x, float* y, std::size_t size) {
    const FloatTag d;
    const auto factor = hn::Set(d, alpha);
    ForEach(d, size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        store(y + i, hn::MulAdd(factor, load(x + i), load(y + i)));
    });
}

void Add(const float* a, const float* b, float* out, std::size_t size) {
    const FloatTag d;
    ForEach(d, size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        store(out + i, hn::Add(load(a + i), load(b + i)));
    });
}

void Scale(float alpha, float* x, std::size_t size) {
    const FloatTag d;
    const auto factor = hn::Set(d, alpha);
    ForEach(d, size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        store(x + i, hn::Mul(factor, load(x + i)));
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(Axpy);
HWY_EXPORT(Add);
HWY_EXPORT(Scale);

namespace {
constexpr std::size_t kGrain = 8192;  // floats: 32 KiB, below which a second thread does not pay
}

void axpy(Context& context, float alpha, const float* x, float* y, std::size_t size) {
    context.pool().range(size, kGrain, [&](std::size_t begin, std::size_t end) {
        HWY_DYNAMIC_DISPATCH(Axpy)(alpha, x + begin, y + begin, end - begin);
    });
}

void add(Context& context, const float* a, const float* b, float* out, std::size_t size) {
    context.pool().range(size, kGrain, [&](std::size_t begin, std::size_t end) {
        HWY_DYNAMIC_DISPATCH(Add)(a + begin, b + begin, out + begin, end - begin);
    });
}

void scale(Context& context, float alpha, float* x, std::size_t size) {
    context.pool().range(size, kGrain, [&](std::size_t begin, std::size_t end) {
        HWY_DYNAMIC_DISPATCH(Scale)(alpha, x + begin, end - begin);
    });
}

void fill(Context& context, float* x, float value, std::size_t size) {
    context.pool().range(size, kGrain,
                         [&](std::size_t begin, std::size_t end) { std::fill(x + begin, x + end, value); });
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

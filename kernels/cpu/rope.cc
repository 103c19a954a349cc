#include <algorithm>
#include <cmath>

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rope.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

// cosine and sine [half] of one position, `half` floats each.
void RotateHead(float* head, const float* cosine, const float* sine, std::size_t half, bool inverse) {
    const FloatTag d;
    ForEach(d, half, [&](std::size_t j, auto load, auto store) HWY_ATTR {
        const auto c = load(cosine + j);
        const auto s = inverse ? hn::Neg(load(sine + j)) : load(sine + j);
        const auto first = load(head + j);
        const auto second = load(head + half + j);
        store(head + j, hn::NegMulAdd(second, s, hn::Mul(first, c)));
        store(head + half + j, hn::MulAdd(first, s, hn::Mul(second, c)));
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(RotateHead);

namespace {

constexpr Index kRestart = 64;

// table [sequence][cosine, sine][half]. Within a block of positions the angle advances by rotation in double,
// which is exact to 1e-14 and far cheaper than the library's sine; each block starts afresh, so the bits do
// not depend on how blocks are dealt to threads.
void fill_table(const float* frequencies, Index half, Index first, Index block, Index sequence,
                float* table) {
    for (Index j = 0; j < half; ++j) {
        const auto frequency = static_cast<double>(frequencies[j]);
        const double step_cosine = std::cos(frequency);
        const double step_sine = std::sin(frequency);
        const Index begin = block * kRestart;
        double cosine = std::cos(static_cast<double>(first + begin) * frequency);
        double sine = std::sin(static_cast<double>(first + begin) * frequency);
        for (Index t = begin; t < std::min(sequence, begin + kRestart); ++t) {
            table[2 * t * half + j] = static_cast<float>(cosine);
            table[(2 * t + 1) * half + j] = static_cast<float>(sine);
            const double next = cosine * step_cosine - sine * step_sine;
            sine = sine * step_cosine + cosine * step_sine;
            cosine = next;
        }
    }
}

}  // namespace

void rope(Context& context, float* x, const float* frequencies, Index batch, Index sequence, Index heads,
          Index head_dim, Index stride, Index position_offset, bool inverse) {
    const Index half = head_dim / 2;
    float* const table = context.shared_scratch(static_cast<std::size_t>(2 * sequence * half));
    context.run(
        static_cast<std::size_t>((sequence + kRestart - 1) / kRestart), [&](std::size_t, std::size_t block) {
            fill_table(frequencies, half, position_offset, static_cast<Index>(block), sequence, table);
        });
    context.pool().range(static_cast<std::size_t>(batch * sequence), 16,
                         [&](std::size_t begin, std::size_t end) {
                             for (auto i = static_cast<Index>(begin); i < static_cast<Index>(end); ++i) {
                                 const float* cosine = table + 2 * (i % sequence) * half;
                                 for (Index h = 0; h < heads; ++h) {
                                     HWY_DYNAMIC_DISPATCH(RotateHead)
                                     (x + i * stride + h * head_dim, cosine, cosine + half,
                                      static_cast<std::size_t>(half), inverse);
                                 }
                             }
                         });
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

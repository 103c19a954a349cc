#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bf16.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

void ToBf16(const float* from, std::uint16_t* to, std::size_t size) {
    const FloatTag d;
    const hn::RebindToUnsigned<FloatTag> du;
    const hn::RebindToSigned<FloatTag> di;
    const hn::Rebind<std::uint16_t, FloatTag> du16;
    const std::size_t lanes = hn::Lanes(d);
    const auto rounded = [&](hn::Vec<FloatTag> x) HWY_ATTR {
        const auto bits = hn::BitCast(du, RoundToBf16(d, x));
        return hn::DemoteTo(du16, hn::BitCast(di, hn::ShiftRight<16>(bits)));
    };
    std::size_t i = 0;
    for (; i + lanes <= size; i += lanes) hn::StoreU(rounded(hn::LoadU(d, from + i)), du16, to + i);
    for (; i < size; ++i) to[i] = hn::GetLane(rounded(hn::Set(d, from[i])));
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(ToBf16);

void to_bf16(Context& context, const float* from, std::uint16_t* to, std::size_t size) {
    constexpr std::size_t kGrain = 8192;
    context.pool().range(size, kGrain, [&](std::size_t begin, std::size_t end) {
        HWY_DYNAMIC_DISPATCH(ToBf16)(from + begin, to + begin, end - begin);
    });
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

// What the vectorised loops share, once per target of Highway's runtime dispatch. Included by their .cc files
// after <hwy/highway.h>, inside no namespace.
#if defined(ATOLL_KERNELS_CPU_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATOLL_KERNELS_CPU_VECTOR_INL_H_
#undef ATOLL_KERNELS_CPU_VECTOR_INL_H_
#else
#define ATOLL_KERNELS_CPU_VECTOR_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::ScalableTag<float>;

// Calls body(i, load, store) for i = 0, lanes, 2 lanes ... and once more for the rest below a full vector,
// where load fills up with zeros and store leaves what lies behind untouched.
template <class D, class Body>
HWY_INLINE void ForEach(D d, std::size_t size, const Body& body) {
    using V = hn::Vec<D>;
    const std::size_t lanes = hn::Lanes(d);
    std::size_t i = 0;
    const auto load = [&](const float* from) HWY_ATTR { return hn::LoadU(d, from); };
    const auto store = [&](float* to, V v) HWY_ATTR { hn::StoreU(v, d, to); };
    for (; i + lanes <= size; i += lanes) body(i, load, store);
    if (i == size) return;
    const std::size_t rest = size - i;
    const auto load_rest = [&](const float* from) HWY_ATTR {
        HWY_ALIGN float lane[hn::MaxLanes(d)] = {};
        for (std::size_t j = 0; j < rest; ++j) lane[j] = from[j];
        return hn::Load(d, lane);
    };
    const auto store_rest = [&](float* to, V v) HWY_ATTR {
        HWY_ALIGN float lane[hn::MaxLanes(d)];
        hn::Store(v, d, lane);
        for (std::size_t j = 0; j < rest; ++j) to[j] = lane[j];
    };
    body(i, load_rest, store_rest);
}

// Sum of the lanes of sum = body(i, load, sum) over i = 0, lanes, 2 lanes ...; four sums side by side hide
// the latency of the additions. load fills the lanes behind the end with zeros, or with its second argument.
template <class D, class Body>
HWY_INLINE float Fold(D d, std::size_t size, const Body& body) {
    using V = hn::Vec<D>;
    const std::size_t lanes = hn::Lanes(d);
    V sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
    const auto load = [&](const float* from, float = 0) HWY_ATTR { return hn::LoadU(d, from); };
    std::size_t i = 0;
    for (; i + 4 * lanes <= size; i += 4 * lanes) {
        sums[0] = body(i, load, sums[0]);
        sums[1] = body(i + lanes, load, sums[1]);
        sums[2] = body(i + 2 * lanes, load, sums[2]);
        sums[3] = body(i + 3 * lanes, load, sums[3]);
    }
    for (; i + lanes <= size; i += lanes) sums[0] = body(i, load, sums[0]);
    if (i != size) {
        const auto load_rest = [&](const float* from, float filler = 0) HWY_ATTR {
            HWY_ALIGN float lane[hn::MaxLanes(d)];
            for (std::size_t j = 0; j < lanes; ++j) lane[j] = i + j < size ? from[j] : filler;
            return hn::Load(d, lane);
        };
        sums[1] = body(i, load_rest, sums[1]);
    }
    return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
}

// Largest of size >= 1 numbers.
template <class D>
HWY_INLINE float FoldMax(D d, const float* x, std::size_t size) {
    const std::size_t lanes = hn::Lanes(d);
    auto largest0 = hn::Set(d, x[0]);
    auto largest1 = largest0;
    std::size_t i = 0;
    for (; i + 2 * lanes <= size; i += 2 * lanes) {
        largest0 = hn::Max(largest0, hn::LoadU(d, x + i));
        largest1 = hn::Max(largest1, hn::LoadU(d, x + i + lanes));
    }
    for (; i < size; ++i) largest0 = hn::Max(largest0, hn::Set(d, x[i]));
    return hn::GetLane(hn::MaxOfLanes(d, hn::Max(largest0, largest1)));
}

// Rounds to the nearest bf16, ties to even, kept as float (16 zero bits below). NaN stays NaN.
template <class D>
HWY_INLINE hn::Vec<D> RoundToBf16(D d, hn::Vec<D> x) {
    const hn::RebindToUnsigned<D> du;
    const auto bits = hn::BitCast(du, x);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1U));
    const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFFU)));
    const auto result = hn::BitCast(d, hn::And(rounded, hn::Set(du, 0xFFFF0000U)));
    return hn::IfThenElse(hn::IsNaN(x), hn::BitCast(d, hn::Set(du, 0x7FC00000U)), result);
}

// e^x to 2 units in the last place, for x <= 88; 0 below -87.3 (denormals flushed), infinity is never
// returned. x = n ln2 + r with |r| <= ln2/2, e^x = 2^n P(r): the polynomial and the split of ln2 are Cephes'
// expf.
template <class D>
HWY_INLINE hn::Vec<D> Exp(D d, hn::Vec<D> x) {
    const hn::RebindToSigned<D> di;
    const auto lowest = hn::Set(d, -87.3F);
    const auto tiny = hn::Lt(x, lowest);
    x = hn::Min(hn::Set(d, 88.0F), hn::Max(lowest, x));  // this order lets NaN through
    const auto n = hn::NearestInt(hn::Mul(x, hn::Set(d, 1.44269504088896341F)));
    const auto nf = hn::ConvertTo(d, n);
    auto r = hn::NegMulAdd(nf, hn::Set(d, 0.693359375F), x);
    r = hn::NegMulAdd(nf, hn::Set(d, -2.12194440e-4F), r);
    auto p = hn::Set(d, 1.9875691500e-4F);
    p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3F));
    p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3F));
    p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2F));
    p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1F));
    p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1F));
    p = hn::MulAdd(hn::Mul(r, r), p, hn::Add(r, hn::Set(d, 1.0F)));
    const auto power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
    return hn::IfThenZeroElse(tiny, hn::Mul(p, power));
}

// 1 / (1 + e^-x)
template <class D>
HWY_INLINE hn::Vec<D> Sigmoid(D d, hn::Vec<D> x) {
    const auto one = hn::Set(d, 1.0F);
    return hn::Div(one, hn::Add(one, Exp(d, hn::Neg(x))));
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

// Normal numbers from seeds. Compiled without contraction of products and sums (CMakeLists.txt): a fused
// multiply-add rounds once where two operations round twice, and not every vector width has one.
#include "kernels/normals.h"

#include <algorithm>

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/normals.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

#ifndef ATOLL_KERNELS_CPU_NORMALS_BLOCK
#define ATOLL_KERNELS_CPU_NORMALS_BLOCK
namespace Atoll::kernels::cpu {
constexpr std::size_t kCounters = 16;  // of a block
constexpr std::size_t kNormalsBlock = 4 * kCounters;
}  // namespace Atoll::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

// No wider than a block's counters, so that a block is whole vectors on every processor.
using BlockTag = hn::CappedTag<float, kCounters>;
using BitsTag = hn::RebindToUnsigned<BlockTag>;
using IntTag = hn::RebindToSigned<BlockTag>;
using F = hn::Vec<BlockTag>;
using U = hn::Vec<BitsTag>;

HWY_INLINE F number(float x) { return hn::Set(BlockTag(), x); }

// a x + b in two roundings
HWY_INLINE F line(F a, F x, float b) { return hn::Add(hn::Mul(a, x), number(b)); }

HWY_INLINE U high_product(U a, U b) {
#if HWY_TARGET == HWY_SCALAR
    return hn::Set(BitsTag(), static_cast<std::uint32_t>(
                                  std::uint64_t{hn::GetLane(a)} * std::uint64_t{hn::GetLane(b)} >> 32U));
#else
    const hn::Repartition<std::uint64_t, BitsTag> wide;
    const auto even = hn::MulEven(a, b);
    const U shifted = hn::BitCast(BitsTag(), hn::ShiftRight<32>(hn::BitCast(wide, a)));
    const auto odd = hn::MulEven(shifted, b);
    const auto upper = hn::And(odd, hn::Set(wide, 0xFFFFFFFF00000000U));
    return hn::BitCast(BitsTag(), hn::Or(hn::ShiftRight<32>(even), upper));
#endif
}

HWY_INLINE void philox(std::uint64_t seed, U (&x)[4]) {
    const BitsTag d;
    const U m0 = hn::Set(d, 0xD2511F53U), m1 = hn::Set(d, 0xCD9E8D57U);
    auto k0 = static_cast<std::uint32_t>(seed);
    auto k1 = static_cast<std::uint32_t>(seed >> 32U);
    for (int round = 0; round < 10; ++round) {
        const U high0 = high_product(x[0], m0), low0 = hn::Mul(x[0], m0);
        const U high1 = high_product(x[2], m1), low1 = hn::Mul(x[2], m1);
        x[0] = hn::Xor(hn::Xor(high1, x[1]), hn::Set(d, k0));
        x[1] = low1;
        x[2] = hn::Xor(hn::Xor(high0, x[3]), hn::Set(d, k1));
        x[3] = low0;
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
}

// ln x for x in (0, 1): x = 2^e m with m in [sqrt(1/2), sqrt(2)).
HWY_INLINE F natural_log(F x) {
    const BlockTag d;
    const IntTag di;
    const auto bits = hn::BitCast(di, x);
    const F half_to_one =
        hn::BitCast(d, hn::Or(hn::And(bits, hn::Set(di, 0x007FFFFF)), hn::Set(di, 0x3F000000)));
    const auto small = hn::Lt(half_to_one, number(0.70710678F));
    const F exponent = hn::Sub(hn::ConvertTo(d, hn::Sub(hn::ShiftRight<23>(bits), hn::Set(di, 126))),
                               hn::IfThenElseZero(small, number(1)));
    const F m = hn::IfThenElse(small, hn::Add(half_to_one, half_to_one), half_to_one);
    const F t = hn::Sub(m, number(1));
    F p = number(7.0376836292E-2F);
    p = line(p, t, -1.1514610310E-1F);
    p = line(p, t, 1.1676998740E-1F);
    p = line(p, t, -1.2420140846E-1F);
    p = line(p, t, 1.4249322787E-1F);
    p = line(p, t, -1.6668057665E-1F);
    p = line(p, t, 2.0000714765E-1F);
    p = line(p, t, -2.4999993993E-1F);
    p = line(p, t, 3.3333331174E-1F);
    const F square = hn::Mul(t, t);
    F rest = hn::Mul(hn::Mul(p, t), square);
    rest = hn::Add(rest, hn::Mul(exponent, number(-2.12194440E-4F)));
    rest = hn::Sub(rest, hn::Mul(number(0.5F), square));
    return hn::Add(hn::Add(t, rest), hn::Mul(exponent, number(0.693359375F)));
}

// Two normal numbers a lane from two random words a lane.
HWY_INLINE void box_muller(U u, U v, F& first, F& second) {
    const BlockTag d;
    const IntTag di;
    const BitsTag du;
    const F k = hn::ConvertTo(d, hn::BitCast(di, hn::ShiftRight<9>(u)));
    const F uniform = hn::Mul(hn::Add(hn::Add(k, k), number(1)), number(0x1p-24F));
    const F radius = hn::Sqrt(hn::Mul(number(-2), natural_log(uniform)));

    const auto turn = hn::BitCast(di, hn::ShiftRight<6>(hn::And(v, hn::Set(du, 0x3FFFFFFFU))));
    const F angle = hn::Mul(hn::ConvertTo(d, hn::Sub(turn, hn::Set(di, 1 << 23))),
                            number(static_cast<float>(1.5707963267948966 * 0x1p-24)));
    const F square = hn::Mul(angle, angle);
    F p = number(-1.9515295891E-4F);
    p = line(p, square, 8.3321608736E-3F);
    p = line(p, square, -1.6666654611E-1F);
    const F sine = hn::Add(hn::Mul(hn::Mul(p, square), angle), angle);
    F q = number(2.443315711809948E-5F);
    q = line(q, square, -1.388731625493765E-3F);
    q = line(q, square, 4.166664568298827E-2F);
    const F minus_half = hn::Mul(number(-0.5F), square);
    const F cosine = hn::Add(hn::Add(hn::Mul(hn::Mul(q, square), square), minus_half), number(1));

    // Quarter turns: (c, s), (-s, c), (-c, -s), (s, -c).
    const U top = hn::Set(du, 0x80000000U);
    const auto odd =
        hn::MaskFromVec(hn::BitCast(d, hn::BroadcastSignBit(hn::BitCast(di, hn::ShiftLeft<1>(v)))));
    const F first_sign = hn::BitCast(d, hn::And(hn::Xor(v, hn::ShiftLeft<1>(v)), top));
    const F second_sign = hn::BitCast(d, hn::And(v, top));
    first = hn::Xor(hn::Mul(radius, hn::IfThenElse(odd, sine, cosine)), first_sign);
    second = hn::Xor(hn::Mul(radius, hn::IfThenElse(odd, cosine, sine)), second_sign);
}

HWY_INLINE void make_block(std::uint64_t seed, std::uint64_t block, float* HWY_RESTRICT z) {
    const BitsTag du;
    const std::uint64_t counter = block * kCounters;  // no carry within a block
    const U high = hn::Set(du, static_cast<std::uint32_t>(counter >> 32U));
    for (std::size_t lane = 0; lane < kCounters; lane += hn::Lanes(du)) {
        U x[4] = {hn::Iota(du, static_cast<std::uint32_t>(counter + lane)), high, hn::Zero(du), hn::Zero(du)};
        philox(seed, x);
        for (std::size_t pair = 0; pair < 2; ++pair) {
            F first, second;
            box_muller(x[2 * pair], x[2 * pair + 1], first, second);
            hn::Store(first, BlockTag(), z + 2 * pair * kCounters + lane);
            hn::Store(second, BlockTag(), z + (2 * pair + 1) * kCounters + lane);
        }
    }
}

// Numbers begin..end of the stream onto x[0..]; the terms one after the other while a block is in the cache.
void AddNormals(const NormalTerm* terms, std::size_t count, std::size_t begin, std::size_t end, float* x) {
    HWY_ALIGN float z[kNormalsBlock];
    for (std::size_t at = begin; at < end;) {
        const std::size_t block = at / kNormalsBlock;
        const std::size_t size = std::min(end, (block + 1) * kNormalsBlock) - at;
        float* const to = x + (at - begin);
        const float* const from = z + at % kNormalsBlock;
        for (std::size_t term = 0; term < count; ++term) {
            make_block(terms[term].seed, block, z);
            const auto scale = hn::Set(FloatTag(), terms[term].scale);
            ForEach(FloatTag(), size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
                store(to + i, hn::Add(load(to + i), hn::Mul(scale, load(from + i))));
            });
        }
        at += size;
    }
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels {

namespace cpu {

HWY_EXPORT(AddNormals);

void add_normals(Context& context, std::span<const NormalTerm> terms, std::size_t first, float* x,
                 std::size_t size) {
    context.pool().range(size, kNormalsBlock, [&](std::size_t begin, std::size_t end) {
        HWY_DYNAMIC_DISPATCH(AddNormals)(terms.data(), terms.size(), first + begin, first + end, x + begin);
    });
}

}  // namespace cpu

void add_normals(std::span<const NormalTerm> terms, std::size_t first, float* x, std::size_t size) {
    using namespace cpu;
    HWY_DYNAMIC_DISPATCH(AddNormals)(terms.data(), terms.size(), first, first + size, x);
}

}  // namespace Atoll::kernels
#endif  // HWY_ONCE

// What the quantisation loops share, once per target of Highway's runtime dispatch. Included by their .cc
// files after <hwy/highway.h>, inside no namespace.
#if defined(ATOLL_KERNELS_QUANTIZE_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATOLL_KERNELS_QUANTIZE_BLOCK_INL_H_
#undef ATOLL_KERNELS_QUANTIZE_BLOCK_INL_H_
#else
#define ATOLL_KERNELS_QUANTIZE_BLOCK_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that every piece of work below (128 or 256 values) is a whole number of vectors.
using Floats = hn::CappedTag<float, 16>;
using Ints = hn::RebindToSigned<Floats>;
using Vec = hn::Vec<Floats>;
constexpr Floats kFloats;
constexpr Ints kInts;
constexpr std::size_t kBlock = kQuantizeBlock;

// Unaligned loads and stores of any lane type at a byte address.
template <class D>
HWY_INLINE hn::Vec<D> load_bytes(D d, const std::byte* from) {
#if HWY_TARGET == HWY_SCALAR
    hn::TFromD<D> lane;
    std::memcpy(&lane, from, sizeof lane);
    return hn::Set(d, lane);
#else
    const hn::Repartition<std::uint8_t, D> bytes;
    return hn::BitCast(d, hn::LoadU(bytes, reinterpret_cast<const std::uint8_t*>(from)));
#endif
}
template <class D>
HWY_INLINE void store_bytes(D, hn::Vec<D> v, std::byte* to) {
#if HWY_TARGET == HWY_SCALAR
    const hn::TFromD<D> lane = hn::GetLane(v);
    std::memcpy(to, &lane, sizeof lane);
#else
    const hn::Repartition<std::uint8_t, D> bytes;
    hn::StoreU(hn::BitCast(bytes, v), bytes, reinterpret_cast<std::uint8_t*>(to));
#endif
}

// Calls piece(input, offset) on whole pieces of kBlock values; the last, shorter one is staged through
// zero-padded buffers. piece(QuantizeInput of kBlock values at their place, offset, count of real values).
template <class Piece>
HWY_INLINE void for_blocks(const QuantizeInput& input, const Piece& piece) {
    std::size_t at = 0;
    for (; at + kBlock <= input.count; at += kBlock) {
        QuantizeInput block = input;
        block.values += at;
        if (input.residual) block.residual += at;
        if (input.decoded) block.decoded += at;
        block.first += at;
        block.count = kBlock;
        piece(block, at, kBlock);
    }
    const std::size_t rest = input.count % kBlock;
    if (rest == 0) return;
    alignas(64) float values[kBlock] = {};
    alignas(64) float residual[kBlock] = {};
    alignas(64) float decoded[kBlock];
    std::copy_n(input.values + at, rest, values);
    if (input.residual) std::copy_n(input.residual + at, rest, residual);
    QuantizeInput block = input;
    block.values = values;
    block.residual = input.residual ? residual : nullptr;
    block.decoded = input.decoded ? decoded : nullptr;
    block.first += at;
    block.count = kBlock;
    piece(block, at, rest);
    if (input.residual) std::copy_n(residual, rest, input.residual + at);
    if (input.decoded) std::copy_n(decoded, rest, input.decoded + at);
}

// The same for decoding: piece(out of kBlock values, offset, count of real values).
template <class Piece>
HWY_INLINE void for_blocks(const DequantizeOutput& output, const Piece& piece) {
    std::size_t at = 0;
    for (; at + kBlock <= output.count; at += kBlock) piece(output.out + at, at, kBlock);
    const std::size_t rest = output.count % kBlock;
    if (rest == 0) return;
    alignas(64) float out[kBlock] = {};
    if (output.accumulate) std::copy_n(output.out + at, rest, out);
    piece(out, at, rest);
    std::copy_n(out, rest, output.out + at);
}

// x = values + residual at `i`.
template <bool kResidual>
HWY_INLINE Vec load_x(const QuantizeInput& input, std::size_t i) {
    const Vec v = hn::LoadU(kFloats, input.values + i);
    if constexpr (kResidual) return hn::Add(v, hn::LoadU(kFloats, input.residual + i));
    return v;
}

template <bool kResidual, bool kDecoded>
HWY_INLINE void store_decoded(const QuantizeInput& input, std::size_t i, Vec x, Vec decoded) {
    if constexpr (kResidual) hn::StoreU(hn::Sub(x, decoded), kFloats, input.residual + i);
    if constexpr (kDecoded) hn::StoreU(decoded, kFloats, input.decoded + i);
}

template <bool kAccumulate>
HWY_INLINE void store_scaled(Vec decoded, Vec scale, float* out) {
    if constexpr (kAccumulate) {
        hn::StoreU(hn::MulAdd(decoded, scale, hn::LoadU(kFloats, out)), kFloats, out);
    } else {
        hn::StoreU(hn::Mul(decoded, scale), kFloats, out);
    }
}

// Turns run-time choices into template arguments once a call, outside the loops.
template <class Body>
HWY_INLINE void choose(bool first, bool second, const Body& body) {
    if (first && second) {
        body(std::true_type{}, std::true_type{});
    } else if (first) {
        body(std::true_type{}, std::false_type{});
    } else if (second) {
        body(std::false_type{}, std::true_type{});
    } else {
        body(std::false_type{}, std::false_type{});
    }
}

// Least bf16 >= magnitude / levels, within the normal numbers and scale_max; 0 for 0; infinite if not finite.
HWY_INLINE std::uint16_t block_scale(float magnitude, float levels, std::uint16_t scale_max) {
    constexpr std::uint32_t kNormalMin = 0x0080;
    constexpr std::uint16_t kInfinity = 0x7F80;
    if (std::bit_cast<std::uint32_t>(magnitude) >= 0x7F800000U) return kInfinity;
    if (magnitude == 0) return 0;
    const auto up = (std::bit_cast<std::uint32_t>(magnitude / levels) + 0xFFFFU) >> 16U;
    return static_cast<std::uint16_t>(std::clamp<std::uint32_t>(up, kNormalMin, scale_max));
}

HWY_INLINE float scale_value(std::uint16_t scale) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(scale) << 16U);
}

// x of the whole block and its scale, which is also written to `scale_out`.
struct ScaledBlock {
    alignas(64) float x[kBlock];
    float scale;
    float inverse;
};

template <bool kResidual>
HWY_INLINE void scale_block(const QuantizeInput& input, float levels, std::uint16_t scale_max,
                            std::byte* scale_out, ScaledBlock& block) {
    const std::size_t lanes = hn::Lanes(kFloats);
    const auto magnitude_bits = hn::Set(kInts, 0x7FFFFFFF);
    // Compared as integers: the order of magnitudes is the same, and infinity and NaN come out on top.
    auto greatest = hn::Zero(kInts);
    for (std::size_t i = 0; i < kBlock; i += lanes) {
        const Vec x = load_x<kResidual>(input, i);
        hn::Store(x, kFloats, block.x + i);
        greatest = hn::Max(greatest, hn::And(hn::BitCast(kInts, x), magnitude_bits));
    }
    const auto bits = hn::GetLane(hn::MaxOfLanes(kInts, greatest));
    const std::uint16_t scale = block_scale(std::bit_cast<float>(bits), levels, scale_max);
    std::memcpy(scale_out, &scale, sizeof scale);
    block.scale = scale_value(scale);
    block.inverse = scale == 0 ? 0.0F : 1.0F / block.scale;
}

HWY_INLINE Vec load_scale(const std::byte* scales, std::size_t block) {
    std::uint16_t scale = 0;
    std::memcpy(&scale, scales + 2 * block, sizeof scale);
    return hn::Set(kFloats, scale_value(scale));
}

// Uniform in [0, 1), 24 bits, from the seed and the index of the value: the same for every vector width.
HWY_INLINE Vec uniform(std::uint64_t seed, std::size_t index) {
    const hn::RebindToUnsigned<Ints> words;
    auto h = hn::Add(hn::Iota(words, static_cast<std::uint32_t>(index)),
                     hn::Set(words, static_cast<std::uint32_t>(seed)));
    const auto scramble = [&](std::uint32_t factor, auto shifted)
                              HWY_ATTR { h = hn::Mul(hn::Xor(h, shifted), hn::Set(words, factor)); };
    scramble(0x85EBCA6BU, hn::ShiftRight<16>(h));
    h = hn::Xor(h, hn::Set(words, static_cast<std::uint32_t>(seed >> 32U)));
    scramble(0xC2B2AE35U, hn::ShiftRight<13>(h));
    scramble(0x27D4EB2FU, hn::ShiftRight<15>(h));
    h = hn::Xor(h, hn::ShiftRight<16>(h));
    const auto bits = hn::BitCast(kInts, hn::ShiftRight<8>(h));
    return hn::Mul(hn::ConvertTo(kFloats, bits), hn::Set(kFloats, 0x1p-24F));
}

}  // namespace Atoll::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

#include "kernels/quantize/quantize.h"

#include <algorithm>
#include <bit>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantize/quantize.cc"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

static_assert(std::endian::native == std::endian::little, "the encoded formats are little-endian");

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
        piece(QuantizeInput{input.values + at, input.residual ? input.residual + at : nullptr,
                            input.decoded ? input.decoded + at : nullptr, kBlock},
              at, kBlock);
    }
    const std::size_t rest = input.count % kBlock;
    if (rest == 0) return;
    alignas(64) float values[kBlock] = {};
    alignas(64) float residual[kBlock] = {};
    alignas(64) float decoded[kBlock];
    std::copy_n(input.values + at, rest, values);
    if (input.residual) std::copy_n(input.residual + at, rest, residual);
    piece(
        QuantizeInput{values, input.residual ? residual : nullptr, input.decoded ? decoded : nullptr, kBlock},
        at, rest);
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

// ---- fp32 ----

template <bool kResidual, bool kDecoded>
HWY_INLINE void quantize_fp32_block(const QuantizeInput& input, std::byte* out) {
    for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
        const Vec x = load_x<kResidual>(input, i);
        store_bytes(kFloats, x, out + 4 * i);
        store_decoded<kResidual, kDecoded>(input, i, x, x);
    }
}

HWY_NOINLINE void QuantizeFp32(const QuantizeInput& input, std::byte* out) {
    choose(input.residual != nullptr, input.decoded != nullptr, [&](auto residual, auto decoded) {
        for_blocks(input, [&](const QuantizeInput& block, std::size_t at, std::size_t count) {
            if (count == kBlock) return quantize_fp32_block<residual(), decoded()>(block, out + 4 * at);
            std::byte staged[4 * kBlock];
            quantize_fp32_block<residual(), decoded()>(block, staged);
            std::copy_n(staged, 4 * count, out + 4 * at);
        });
    });
}

template <bool kAccumulate>
HWY_INLINE void dequantize_fp32_block(const std::byte* in, float scale, float* out) {
    const Vec factor = hn::Set(kFloats, scale);
    for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
        store_scaled<kAccumulate>(load_bytes(kFloats, in + 4 * i), factor, out + i);
    }
}

HWY_NOINLINE void DequantizeFp32(const std::byte* in, const DequantizeOutput& output) {
    choose(output.accumulate, false, [&](auto accumulate, auto) {
        for_blocks(output, [&](float* out, std::size_t at, std::size_t count) {
            if (count == kBlock) return dequantize_fp32_block<accumulate()>(in + 4 * at, output.scale, out);
            std::byte staged[4 * kBlock] = {};
            std::copy_n(in + 4 * at, 4 * count, staged);
            dequantize_fp32_block<accumulate()>(staged, output.scale, out);
        });
    });
}

// ---- bf16 ----

template <bool kResidual, bool kDecoded>
HWY_INLINE void quantize_bf16_block(const QuantizeInput& input, std::byte* out) {
    const hn::Rebind<std::uint16_t, Floats> halves;
    const auto sign_bit = hn::Set(kInts, static_cast<std::int32_t>(0x80000000U));
    const auto max_finite = hn::Set(kInts, 0x7F7FFFFF);
    for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
        const Vec x = load_x<kResidual>(input, i);
        const auto bits = hn::BitCast(kInts, x);
        const auto magnitude = hn::AndNot(sign_bit, bits);
        const auto odd = hn::And(hn::ShiftRight<16>(magnitude), hn::Set(kInts, 1));
        const auto nearest = hn::Min(hn::Add(magnitude, hn::Add(odd, hn::Set(kInts, 0x7FFF))), max_finite);
        // Infinity and NaN pass as they are, for the receiver to refuse.
        const auto kept = hn::IfThenElse(hn::Gt(magnitude, max_finite), magnitude, nearest);
        const auto rounded = hn::Or(hn::And(kept, hn::Set(kInts, 0x7FFF0000)), hn::And(bits, sign_bit));
        const hn::RebindToUnsigned<Ints> words;
        const auto high = hn::BitCast(kInts, hn::ShiftRight<16>(hn::BitCast(words, rounded)));
        store_bytes(halves, hn::DemoteTo(halves, high), out + 2 * i);
        store_decoded<kResidual, kDecoded>(input, i, x, hn::BitCast(kFloats, rounded));
    }
}

HWY_NOINLINE void QuantizeBf16(const QuantizeInput& input, std::byte* out) {
    choose(input.residual != nullptr, input.decoded != nullptr, [&](auto residual, auto decoded) {
        for_blocks(input, [&](const QuantizeInput& block, std::size_t at, std::size_t count) {
            if (count == kBlock) return quantize_bf16_block<residual(), decoded()>(block, out + 2 * at);
            std::byte staged[2 * kBlock];
            quantize_bf16_block<residual(), decoded()>(block, staged);
            std::copy_n(staged, 2 * count, out + 2 * at);
        });
    });
}

template <bool kAccumulate>
HWY_INLINE void dequantize_bf16_block(const std::byte* in, float scale, float* out) {
    const hn::Rebind<std::uint16_t, Floats> halves;
    const hn::RebindToUnsigned<Ints> words;
    const Vec factor = hn::Set(kFloats, scale);
    for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
        const auto bits = hn::PromoteTo(words, load_bytes(halves, in + 2 * i));
        store_scaled<kAccumulate>(hn::BitCast(kFloats, hn::ShiftLeft<16>(bits)), factor, out + i);
    }
}

HWY_NOINLINE void DequantizeBf16(const std::byte* in, const DequantizeOutput& output) {
    choose(output.accumulate, false, [&](auto accumulate, auto) {
        for_blocks(output, [&](float* out, std::size_t at, std::size_t count) {
            if (count == kBlock) return dequantize_bf16_block<accumulate()>(in + 2 * at, output.scale, out);
            std::byte staged[2 * kBlock] = {};
            std::copy_n(in + 2 * at, 2 * count, staged);
            dequantize_bf16_block<accumulate()>(staged, output.scale, out);
        });
    });
}

// ---- int8 and int4: a scale a block ----

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

HWY_INLINE hn::Vec<Ints> nearest_code(Vec x, Vec inverse, Vec levels) {
    return hn::NearestInt(hn::Min(hn::Max(hn::Mul(x, inverse), hn::Neg(levels)), levels));
}

template <bool kResidual, bool kDecoded>
HWY_INLINE void quantize_int8_block(const QuantizeInput& input, std::byte* scale, std::byte* codes) {
    const hn::Rebind<std::int8_t, Floats> bytes;
    ScaledBlock block;
    scale_block<kResidual>(input, 127, kScaleMaxInt8, scale, block);
    const Vec factor = hn::Set(kFloats, block.scale);
    const Vec inverse = hn::Set(kFloats, block.inverse);
    const Vec levels = hn::Set(kFloats, 127);
    for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
        const Vec x = hn::Load(kFloats, block.x + i);
        const auto code = nearest_code(x, inverse, levels);
        store_bytes(bytes, hn::DemoteTo(bytes, code), codes + i);
        store_decoded<kResidual, kDecoded>(input, i, x, hn::Mul(hn::ConvertTo(kFloats, code), factor));
    }
}

HWY_NOINLINE void QuantizeInt8(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    choose(input.residual != nullptr, input.decoded != nullptr, [&](auto residual, auto decoded) {
        for_blocks(input, [&](const QuantizeInput& block, std::size_t at, std::size_t count) {
            std::byte* scale = scales + 2 * (at / kBlock);
            if (count == kBlock) return quantize_int8_block<residual(), decoded()>(block, scale, codes + at);
            std::byte staged[kBlock];
            quantize_int8_block<residual(), decoded()>(block, scale, staged);
            std::copy_n(staged, count, codes + at);
        });
    });
}

HWY_INLINE Vec load_scale(const std::byte* scales, std::size_t block) {
    std::uint16_t scale = 0;
    std::memcpy(&scale, scales + 2 * block, sizeof scale);
    return hn::Set(kFloats, scale_value(scale));
}

template <bool kAccumulate>
HWY_INLINE void dequantize_int8_block(Vec block_factor, const std::byte* codes, float scale, float* out) {
    const hn::Rebind<std::int8_t, Floats> bytes;
    const Vec factor = hn::Set(kFloats, scale);
    for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
        const auto code = hn::PromoteTo(kInts, load_bytes(bytes, codes + i));
        store_scaled<kAccumulate>(hn::Mul(hn::ConvertTo(kFloats, code), block_factor), factor, out + i);
    }
}

HWY_NOINLINE void DequantizeInt8(const std::byte* scales, const std::byte* codes,
                                 const DequantizeOutput& output) {
    choose(output.accumulate, false, [&](auto accumulate, auto) {
        for_blocks(output, [&](float* out, std::size_t at, std::size_t count) {
            const Vec block_factor = load_scale(scales, at / kBlock);
            if (count == kBlock) {
                return dequantize_int8_block<accumulate()>(block_factor, codes + at, output.scale, out);
            }
            std::byte staged[kBlock] = {};
            std::copy_n(codes + at, count, staged);
            dequantize_int8_block<accumulate()>(block_factor, staged, output.scale, out);
        });
    });
}

// The two halves of a block are `half` values apart; only a full block is worked on in place.
template <bool kResidual, bool kDecoded>
HWY_INLINE void quantize_int4_block(const QuantizeInput& input, std::byte* scale, std::byte* codes) {
    constexpr std::size_t kHalf = kBlock / 2;
    const hn::Rebind<std::uint8_t, Floats> bytes;
    ScaledBlock block;
    scale_block<kResidual>(input, 7, kScaleMaxInt4, scale, block);
    const Vec factor = hn::Set(kFloats, block.scale);
    const Vec inverse = hn::Set(kFloats, block.inverse);
    const Vec levels = hn::Set(kFloats, 7);
    const auto nibble = hn::Set(kInts, 15);
    for (std::size_t i = 0; i < kHalf; i += hn::Lanes(kFloats)) {
        const Vec low = hn::Load(kFloats, block.x + i);
        const Vec high = hn::Load(kFloats, block.x + kHalf + i);
        const auto low_code = nearest_code(low, inverse, levels);
        const auto high_code = nearest_code(high, inverse, levels);
        const auto pair = hn::Or(hn::And(low_code, nibble), hn::ShiftLeft<4>(hn::And(high_code, nibble)));
        store_bytes(bytes, hn::DemoteTo(bytes, pair), codes + i);
        store_decoded<kResidual, kDecoded>(input, i, low, hn::Mul(hn::ConvertTo(kFloats, low_code), factor));
        store_decoded<kResidual, kDecoded>(input, kHalf + i, high,
                                           hn::Mul(hn::ConvertTo(kFloats, high_code), factor));
    }
}

// Moves the second half of a short block (count values, halves of h) to where a full block has it, and back.
HWY_INLINE void spread_halves(float* block, std::size_t count, std::size_t h) {
    alignas(64) float second[kBlock / 2] = {};
    std::copy_n(block + h, count / 2, second);
    std::fill(block + h, block + kBlock / 2, 0.0F);
    std::copy_n(second, kBlock / 2, block + kBlock / 2);
}
HWY_INLINE void join_halves(float* block, std::size_t count, std::size_t h) {
    std::copy_n(block + kBlock / 2, count / 2, block + h);
}

HWY_NOINLINE void QuantizeInt4(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    choose(input.residual != nullptr, input.decoded != nullptr, [&](auto residual, auto decoded) {
        for_blocks(input, [&](const QuantizeInput& block, std::size_t at, std::size_t count) {
            std::byte* scale = scales + 2 * (at / kBlock);
            std::byte* to = codes + at / 2;
            if (count == kBlock) return quantize_int4_block<residual(), decoded()>(block, scale, to);
            const std::size_t h = (count + 1) / 2;
            alignas(64) float values[kBlock];
            std::copy_n(block.values, kBlock, values);
            spread_halves(values, count, h);
            if constexpr (residual()) spread_halves(block.residual, count, h);
            QuantizeInput spread = block;
            spread.values = values;
            std::byte staged[kBlock / 2];
            quantize_int4_block<residual(), decoded()>(spread, scale, staged);
            if constexpr (residual()) join_halves(block.residual, count, h);
            if constexpr (decoded()) join_halves(block.decoded, count, h);
            std::copy_n(staged, h, to);
        });
    });
}

template <bool kAccumulate>
HWY_INLINE void dequantize_int4_block(Vec block_factor, const std::byte* codes, float scale, float* out) {
    constexpr std::size_t kHalf = kBlock / 2;
    const hn::Rebind<std::uint8_t, Floats> bytes;
    const Vec factor = hn::Set(kFloats, scale);
    for (std::size_t i = 0; i < kHalf; i += hn::Lanes(kFloats)) {
        const auto pair = hn::PromoteTo(kInts, load_bytes(bytes, codes + i));
        const auto low = hn::ShiftRight<28>(hn::ShiftLeft<28>(pair));
        const auto high = hn::ShiftRight<28>(hn::ShiftLeft<24>(pair));
        store_scaled<kAccumulate>(hn::Mul(hn::ConvertTo(kFloats, low), block_factor), factor, out + i);
        store_scaled<kAccumulate>(hn::Mul(hn::ConvertTo(kFloats, high), block_factor), factor,
                                  out + kHalf + i);
    }
}

HWY_NOINLINE void DequantizeInt4(const std::byte* scales, const std::byte* codes,
                                 const DequantizeOutput& output) {
    choose(output.accumulate, false, [&](auto accumulate, auto) {
        for_blocks(output, [&](float* out, std::size_t at, std::size_t count) {
            const Vec block_factor = load_scale(scales, at / kBlock);
            const std::byte* from = codes + at / 2;
            if (count == kBlock) {
                return dequantize_int4_block<accumulate()>(block_factor, from, output.scale, out);
            }
            const std::size_t h = (count + 1) / 2;
            std::byte staged[kBlock / 2] = {};
            std::copy_n(from, h, staged);
            if constexpr (accumulate()) spread_halves(out, count, h);
            dequantize_int4_block<accumulate()>(block_factor, staged, output.scale, out);
            join_halves(out, count, h);
        });
    });
}

// ---- checks ----

HWY_NOINLINE bool AllFiniteFp32(const std::byte* in, std::size_t count) {
    const std::size_t lanes = hn::Lanes(kFloats);
    const auto magnitude_bits = hn::Set(kInts, 0x7FFFFFFF);
    auto a = hn::Zero(kInts);
    auto b = hn::Zero(kInts);
    std::size_t i = 0;
    for (; i + 2 * lanes <= count; i += 2 * lanes) {
        a = hn::Max(a, hn::And(load_bytes(kInts, in + 4 * i), magnitude_bits));
        b = hn::Max(b, hn::And(load_bytes(kInts, in + 4 * (i + lanes)), magnitude_bits));
    }
    if (hn::GetLane(hn::MaxOfLanes(kInts, hn::Max(a, b))) >= 0x7F800000) return false;
    for (; i < count; ++i) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, in + 4 * i, sizeof bits);
        if ((bits & 0x7F800000U) == 0x7F800000U) return false;
    }
    return true;
}

HWY_NOINLINE bool AllFiniteBf16(const std::byte* in, std::size_t count) {
    const hn::CappedTag<std::int16_t, 32> halves;
    const std::size_t lanes = hn::Lanes(halves);
    const auto magnitude_bits = hn::Set(halves, 0x7FFF);
    auto a = hn::Zero(halves);
    auto b = hn::Zero(halves);
    std::size_t i = 0;
    for (; i + 2 * lanes <= count; i += 2 * lanes) {
        a = hn::Max(a, hn::And(load_bytes(halves, in + 2 * i), magnitude_bits));
        b = hn::Max(b, hn::And(load_bytes(halves, in + 2 * (i + lanes)), magnitude_bits));
    }
    if (hn::GetLane(hn::MaxOfLanes(halves, hn::Max(a, b))) >= 0x7F80) return false;
    for (; i < count; ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, in + 2 * i, sizeof bits);
        if ((bits & 0x7F80U) == 0x7F80U) return false;
    }
    return true;
}

HWY_NOINLINE double SumOfSquares(const float* values, std::size_t count) {
    const hn::CappedTag<double, 8> doubles;
    const hn::Rebind<float, decltype(doubles)> floats;
    const std::size_t lanes = hn::Lanes(doubles);
    auto a = hn::Zero(doubles);
    auto b = hn::Zero(doubles);
    std::size_t i = 0;
    for (; i + 2 * lanes <= count; i += 2 * lanes) {
        const auto x = hn::PromoteTo(doubles, hn::LoadU(floats, values + i));
        const auto y = hn::PromoteTo(doubles, hn::LoadU(floats, values + i + lanes));
        a = hn::MulAdd(x, x, a);
        b = hn::MulAdd(y, y, b);
    }
    double sum = hn::GetLane(hn::SumOfLanes(doubles, hn::Add(a, b)));
    for (; i < count; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    return sum;
}

}  // namespace Atoll::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels {

HWY_EXPORT(QuantizeFp32);
HWY_EXPORT(DequantizeFp32);
HWY_EXPORT(QuantizeBf16);
HWY_EXPORT(DequantizeBf16);
HWY_EXPORT(QuantizeInt8);
HWY_EXPORT(DequantizeInt8);
HWY_EXPORT(QuantizeInt4);
HWY_EXPORT(DequantizeInt4);
HWY_EXPORT(AllFiniteFp32);
HWY_EXPORT(AllFiniteBf16);
HWY_EXPORT(SumOfSquares);

void quantize_fp32(const QuantizeInput& input, std::byte* out) {
    HWY_DYNAMIC_DISPATCH(QuantizeFp32)(input, out);
}
void dequantize_fp32(const std::byte* in, const DequantizeOutput& output) {
    HWY_DYNAMIC_DISPATCH(DequantizeFp32)(in, output);
}
void quantize_bf16(const QuantizeInput& input, std::byte* out) {
    HWY_DYNAMIC_DISPATCH(QuantizeBf16)(input, out);
}
void dequantize_bf16(const std::byte* in, const DequantizeOutput& output) {
    HWY_DYNAMIC_DISPATCH(DequantizeBf16)(in, output);
}
void quantize_int8(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    HWY_DYNAMIC_DISPATCH(QuantizeInt8)(input, scales, codes);
}
void dequantize_int8(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output) {
    HWY_DYNAMIC_DISPATCH(DequantizeInt8)(scales, codes, output);
}
void quantize_int4(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    HWY_DYNAMIC_DISPATCH(QuantizeInt4)(input, scales, codes);
}
void dequantize_int4(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output) {
    HWY_DYNAMIC_DISPATCH(DequantizeInt4)(scales, codes, output);
}
bool all_finite_fp32(const std::byte* in, std::size_t count) {
    return HWY_DYNAMIC_DISPATCH(AllFiniteFp32)(in, count);
}
bool all_finite_bf16(const std::byte* in, std::size_t count) {
    return HWY_DYNAMIC_DISPATCH(AllFiniteBf16)(in, count);
}
double sum_of_squares(const float* values, std::size_t count) {
    return HWY_DYNAMIC_DISPATCH(SumOfSquares)(values, count);
}

bool all_scales_valid(const std::byte* scales, std::size_t count, std::uint16_t scale_max) {
    constexpr std::uint16_t kNormalMin = 0x0080;
    bool valid = true;
    for (std::size_t i = 0; i < count; ++i) {
        std::uint16_t scale = 0;
        std::memcpy(&scale, scales + 2 * i, sizeof scale);
        valid &= scale == 0 || (scale >= kNormalMin && scale <= scale_max);
    }
    return valid;
}

}  // namespace Atoll::kernels
#endif  // HWY_ONCE

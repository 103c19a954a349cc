#include "kernels/quantize/quantize.h"

#include <algorithm>
#include <bit>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantize/quantize.cc"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

static_assert(std::endian::native == std::endian::little, "the encoded formats are little-endian");

#include "kernels/quantize/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::HWY_NAMESPACE {

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

HWY_INLINE hn::Vec<Ints> nearest_code(Vec x, Vec inverse, Vec levels) {
    return hn::NearestInt(hn::Min(hn::Max(hn::Mul(x, inverse), hn::Neg(levels)), levels));
}

// floor(x / scale + u) with u uniform in [0, 1): x / scale in the mean (Alistarh et al. 2017).
HWY_INLINE hn::Vec<Ints> random_code(Vec x, Vec inverse, Vec levels, std::uint64_t noise, std::size_t index) {
    const Vec up = hn::Floor(hn::MulAdd(x, inverse, uniform(noise, index)));
    return hn::ConvertTo(kInts, hn::Min(hn::Max(up, hn::Neg(levels)), levels));
}

template <bool kStochastic>
HWY_INLINE hn::Vec<Ints> code_of(Vec x, Vec inverse, Vec levels, const QuantizeInput& input, std::size_t i) {
    if constexpr (kStochastic) return random_code(x, inverse, levels, input.noise, input.first + i);
    return nearest_code(x, inverse, levels);
}

template <bool kStochastic, bool kResidual, bool kDecoded>
HWY_INLINE void quantize_int8_block(const QuantizeInput& input, std::byte* scale, std::byte* codes) {
    const hn::Rebind<std::int8_t, Floats> bytes;
    ScaledBlock block;
    scale_block<kResidual>(input, 127, kScaleMaxInt8, scale, block);
    const Vec factor = hn::Set(kFloats, block.scale);
    const Vec inverse = hn::Set(kFloats, block.inverse);
    const Vec levels = hn::Set(kFloats, 127);
    for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
        const Vec x = hn::Load(kFloats, block.x + i);
        const auto code = code_of<kStochastic>(x, inverse, levels, input, i);
        store_bytes(bytes, hn::DemoteTo(bytes, code), codes + i);
        store_decoded<kResidual, kDecoded>(input, i, x, hn::Mul(hn::ConvertTo(kFloats, code), factor));
    }
}

template <bool kStochastic>
void quantize_int8_as(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    choose(input.residual != nullptr, input.decoded != nullptr, [&](auto residual, auto decoded) {
        for_blocks(input, [&](const QuantizeInput& block, std::size_t at, std::size_t count) {
            std::byte* scale = scales + 2 * (at / kBlock);
            if (count == kBlock)
                return quantize_int8_block<kStochastic, residual(), decoded()>(block, scale, codes + at);
            std::byte staged[kBlock];
            quantize_int8_block<kStochastic, residual(), decoded()>(block, scale, staged);
            std::copy_n(staged, count, codes + at);
        });
    });
}

HWY_NOINLINE void QuantizeInt8(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    input.stochastic ? quantize_int8_as<true>(input, scales, codes)
                     : quantize_int8_as<false>(input, scales, codes);
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
template <bool kStochastic, bool kResidual, bool kDecoded>
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
        const auto low_code = code_of<kStochastic>(low, inverse, levels, input, i);
        const auto high_code = code_of<kStochastic>(high, inverse, levels, input, kHalf + i);
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

template <bool kStochastic>
void quantize_int4_as(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    choose(input.residual != nullptr, input.decoded != nullptr, [&](auto residual, auto decoded) {
        for_blocks(input, [&](const QuantizeInput& block, std::size_t at, std::size_t count) {
            std::byte* scale = scales + 2 * (at / kBlock);
            std::byte* to = codes + at / 2;
            if (count == kBlock)
                return quantize_int4_block<kStochastic, residual(), decoded()>(block, scale, to);
            const std::size_t h = (count + 1) / 2;
            alignas(64) float values[kBlock];
            std::copy_n(block.values, kBlock, values);
            spread_halves(values, count, h);
            if constexpr (residual()) spread_halves(block.residual, count, h);
            QuantizeInput spread = block;
            spread.values = values;
            std::byte staged[kBlock / 2];
            quantize_int4_block<kStochastic, residual(), decoded()>(spread, scale, staged);
            if constexpr (residual()) join_halves(block.residual, count, h);
            if constexpr (decoded()) join_halves(block.decoded, count, h);
            std::copy_n(staged, h, to);
        });
    });
}

HWY_NOINLINE void QuantizeInt4(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    input.stochastic ? quantize_int4_as<true>(input, scales, codes)
                     : quantize_int4_as<false>(input, scales, codes);
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

HWY_NOINLINE double SquaredDistance(const float* a, const float* b, std::size_t count) {
    const hn::CappedTag<double, 8> doubles;
    const hn::Rebind<float, decltype(doubles)> floats;
    const std::size_t lanes = hn::Lanes(doubles);
    auto sum = hn::Zero(doubles);
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        const auto x = hn::PromoteTo(doubles, hn::LoadU(floats, a + i));
        const auto away = hn::Sub(x, hn::PromoteTo(doubles, hn::LoadU(floats, b + i)));
        sum = hn::MulAdd(away, away, sum);
    }
    double total = hn::GetLane(hn::SumOfLanes(doubles, sum));
    for (; i < count; ++i) {
        const double away = static_cast<double>(a[i]) - static_cast<double>(b[i]);
        total += away * away;
    }
    return total;
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
HWY_EXPORT(SquaredDistance);

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

double squared_distance(const float* a, const float* b, std::size_t count) {
    return HWY_DYNAMIC_DISPATCH(SquaredDistance)(a, b, count);
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

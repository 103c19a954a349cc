// Formats of at most 4 bits, and fp16: codes are worked out a block at a time, one byte each, then packed.
#include "kernels/quantize/quantize.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantize/short_codes.cc"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "kernels/quantize/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::HWY_NAMESPACE {

// x of a block, its largest magnitude (as bits: infinity and NaN come out on top) and the sum of magnitudes.
struct Magnitudes {
    alignas(64) float x[kBlock];
    float largest = 0;
    float sum = 0;
};

template <bool kResidual>
HWY_INLINE void measure(const QuantizeInput& input, Magnitudes& block) {
    const auto magnitude_bits = hn::Set(kInts, 0x7FFFFFFF);
    auto greatest = hn::Zero(kInts);
    // Sums in fixed groups of 16, so that the bits do not depend on the vector width.
    alignas(64) float sums[16] = {};
    const std::size_t lanes = hn::Lanes(kFloats);
    for (std::size_t i = 0; i < kBlock; i += lanes) {
        const Vec x = load_x<kResidual>(input, i);
        hn::Store(x, kFloats, block.x + i);
        greatest = hn::Max(greatest, hn::And(hn::BitCast(kInts, x), magnitude_bits));
        float* const group = sums + i % 16;
        hn::Store(hn::Add(hn::Load(kFloats, group), hn::Abs(x)), kFloats, group);
    }
    block.largest = std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(kInts, greatest)));
    block.sum = 0;
    for (const float sum : sums) block.sum += sum;
}

HWY_INLINE bool is_finite(float magnitude) { return std::bit_cast<std::uint32_t>(magnitude) < 0x7F800000U; }

// The nearest bf16, ties upwards; infinite if not finite, 0 for what is not a normal number.
HWY_INLINE std::uint16_t nearest_scale(float value, bool finite) {
    if (!finite) return 0x7F80;
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value) + 0x8000U;
    if (bits < 0x00800000U) return value == 0 ? 0 : 0x0080;
    return static_cast<std::uint16_t>(std::min<std::uint32_t>(bits >> 16U, kScaleMaxUnit));
}

// The least power of two that is at least `value`, as bf16 within 2^-126..2^exponent_max.
HWY_INLINE std::uint16_t power_scale(float value, int exponent_max) {
    if (!is_finite(value)) return 0x7F80;
    if (value == 0) return 0;
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const auto up = static_cast<int>((bits + 0x007FFFFFU) >> 23U);  // biased exponent, rounded up
    return static_cast<std::uint16_t>(std::clamp(up, 1, exponent_max + 127) << 7);
}

HWY_INLINE float put_scale(std::uint16_t scale, std::byte* to) {
    std::memcpy(to, &scale, sizeof scale);
    return scale_value(scale);
}

// ---- packing: codes[256], one a byte, to bits and back; little-endian, the first value in the lowest bits
// ----

template <int kBits>
HWY_INLINE void pack(const std::uint8_t* codes, std::byte* out) {
    for (std::size_t i = 0; i < kBlock; i += 8, out += kBits) {
        std::uint64_t v = 0;
        std::memcpy(&v, codes + i, 8);
        if constexpr (kBits == 4) {
            v = (v | v >> 4U) & 0x00FF00FF00FF00FFU;
            v = (v | v >> 8U) & 0x0000FFFF0000FFFFU;
            v = (v | v >> 16U) & 0x00000000FFFFFFFFU;
        } else if constexpr (kBits == 2) {
            v = (v | v >> 6U) & 0x000F000F000F000FU;
            v = (v | v >> 12U) & 0x000000FF000000FFU;
            v = (v | v >> 24U) & 0x000000000000FFFFU;
        } else {
            v = v * 0x0102040810204080U >> 56U;
        }
        std::memcpy(out, &v, kBits);
    }
}

template <int kBits>
HWY_INLINE void unpack(const std::byte* in, std::uint8_t* codes) {
    for (std::size_t i = 0; i < kBlock; i += 8, in += kBits) {
        std::uint64_t v = 0;
        std::memcpy(&v, in, kBits);
        if constexpr (kBits == 4) {
            v = (v | v << 16U) & 0x0000FFFF0000FFFFU;
            v = (v | v << 8U) & 0x00FF00FF00FF00FFU;
            v = (v | v << 4U) & 0x0F0F0F0F0F0F0F0FU;
        } else if constexpr (kBits == 2) {
            v = (v | v << 24U) & 0x000000FF000000FFU;
            v = (v | v << 12U) & 0x000F000F000F000FU;
            v = (v | v << 6U) & 0x0303030303030303U;
        } else {
            v = (v * 0x0101010101010101U) & 0x8040201008040201U;
            v = ((v + 0x7F7F7F7F7F7F7F7FU) | v) >> 7U & 0x0101010101010101U;
        }
        std::memcpy(codes + i, &v, 8);
    }
}

template <int kBits>
constexpr std::size_t code_bytes(std::size_t count) {
    return (count * kBits + 7) / 8;
}

// Blocks of a format: format.scale(block, stochastic) gives the bf16 scale, format.code(x, factor, u) the
// codes, format.value(code, scale) what they decode to.
template <int kBits, class Format>
HWY_INLINE void quantize(const Format& format, const QuantizeInput& input, std::byte* scales,
                         std::byte* codes) {
    const hn::Rebind<std::uint8_t, Floats> bytes;
    choose(input.residual != nullptr, input.decoded != nullptr, [&](auto residual, auto decoded) HWY_ATTR {
        for_blocks(input, [&](const QuantizeInput& block, std::size_t at, std::size_t count) HWY_ATTR {
            Magnitudes magnitudes;
            measure<residual()>(block, magnitudes);
            const std::size_t real = std::min(count, kBlock);
            const float scale =
                put_scale(format.scale(magnitudes, real, input.stochastic), scales + at / kBlock * 2);
            const Vec factor = hn::Set(kFloats, scale);
            const Vec inverse = hn::Set(kFloats, scale > 0 ? 1 / scale : 0);
            alignas(64) std::uint8_t staged[kBlock];
            for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
                const Vec x = hn::Load(kFloats, magnitudes.x + i);
                const auto code = input.stochastic
                                      ? format.random_code(x, inverse, uniform(input.noise, block.first + i))
                                      : format.nearest_code(x, inverse, magnitudes, real);
                hn::StoreU(hn::DemoteTo(bytes, code), bytes, staged + i);
                store_decoded<residual(), decoded()>(block, i, x, format.value(code, factor));
            }
            if (real < kBlock) std::fill(staged + real, staged + kBlock, std::uint8_t{0});
            alignas(64) std::byte packed[kBlock * kBits / 8];
            pack<kBits>(staged, real == kBlock ? codes + at * kBits / 8 : packed);
            if (real < kBlock) std::copy_n(packed, code_bytes<kBits>(real), codes + at * kBits / 8);
        });
    });
}

template <int kBits, class Format>
HWY_INLINE void dequantize(const Format& format, const std::byte* scales, const std::byte* codes,
                           const DequantizeOutput& output) {
    const hn::Rebind<std::uint8_t, Floats> bytes;
    const Vec out_scale = hn::Set(kFloats, output.scale);
    choose(output.accumulate, false, [&](auto accumulate, auto) HWY_ATTR {
        for_blocks(output, [&](float* out, std::size_t at, std::size_t count) HWY_ATTR {
            const Vec factor = load_scale(scales, at / kBlock);
            alignas(64) std::uint8_t staged[kBlock];
            alignas(64) std::byte packed[kBlock * kBits / 8] = {};
            const std::byte* from = codes + at * kBits / 8;
            if (count < kBlock) {
                std::copy_n(from, code_bytes<kBits>(count), packed);
                from = packed;
            }
            unpack<kBits>(from, staged);
            for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
                const auto code = hn::PromoteTo(kInts, hn::LoadU(bytes, staged + i));
                store_scaled<accumulate()>(format.value(code, factor), out_scale, out + i);
            }
        });
    });
}

// ---- E3M0 ----

struct E3m0 {
    static std::uint16_t scale(const Magnitudes& block, std::size_t, bool stochastic) {
        return power_scale(stochastic ? block.largest : block.largest * (2.0F / 3), 127);
    }
    static HWY_INLINE hn::Vec<Ints> signed_code(Vec x, hn::Vec<Ints> magnitude) {
        const auto negative = hn::And(hn::ShiftRight<28>(hn::BitCast(kInts, x)), hn::Set(kInts, 8));
        const auto cut = hn::Min(magnitude, hn::Set(kInts, 7));
        return hn::IfThenElseZero(hn::Gt(cut, hn::Zero(kInts)), hn::Or(cut, negative));
    }
    // 7 + floor(log2 a), for a >= 0
    static HWY_INLINE hn::Vec<Ints> level(Vec a) {
        return hn::Sub(hn::ShiftRight<23>(hn::BitCast(kInts, a)), hn::Set(kInts, 120));
    }
    static HWY_INLINE hn::Vec<Ints> nearest_code(Vec x, Vec inverse, const Magnitudes&, std::size_t) {
        const Vec a = hn::Abs(hn::Mul(x, inverse));
        const auto nearest = level(hn::Mul(a, hn::Set(kFloats, 4.0F / 3)));  // halfway is 1.5 times a level
        const auto least = hn::RebindMask(kInts, hn::Ge(a, hn::Set(kFloats, 0x1p-7F)));
        const auto low = hn::IfThenElseZero(least, hn::Set(kInts, 1));
        return signed_code(x, hn::Max(nearest, low));
    }
    static HWY_INLINE hn::Vec<Ints> random_code(Vec x, Vec inverse, Vec u) {
        const Vec a = hn::Abs(hn::Mul(x, inverse));
        const auto floor = hn::Max(level(a), hn::Zero(kInts));
        const auto power = hn::BitCast(kFloats, hn::ShiftLeft<23>(hn::Add(floor, hn::Set(kInts, 120))));
        const auto is_zero = hn::RebindMask(kFloats, hn::Eq(floor, hn::Zero(kInts)));
        const Vec below = hn::IfThenZeroElse(is_zero, power);
        const Vec width = hn::IfThenElse(is_zero, hn::Set(kFloats, 0x1p-6F), power);
        const auto up = hn::RebindMask(kInts, hn::Lt(hn::Mul(u, width), hn::Sub(a, below)));
        return signed_code(x, hn::Add(floor, hn::IfThenElseZero(up, hn::Set(kInts, 1))));
    }
    static HWY_INLINE Vec value(hn::Vec<Ints> code, Vec scale) {
        const auto magnitude = hn::And(code, hn::Set(kInts, 7));
        const auto power = hn::BitCast(kFloats, hn::ShiftLeft<23>(hn::Add(magnitude, hn::Set(kInts, 120))));
        const auto sign_bit = hn::ShiftLeft<28>(hn::And(code, hn::Set(kInts, 8)));
        const Vec exact = hn::Mul(power, scale);
        const Vec kept =
            hn::IfThenElseZero(hn::RebindMask(kFloats, hn::Gt(magnitude, hn::Zero(kInts))), exact);
        return hn::Xor(kept, hn::BitCast(kFloats, sign_bit));
    }
};

// ---- sign ----

struct Sign {
    static std::uint16_t scale(const Magnitudes& block, std::size_t count, bool stochastic) {
        if (stochastic) return block_scale(block.largest, 1, kScaleMaxUnit);
        const auto mean = static_cast<float>(static_cast<double>(block.sum) / static_cast<double>(count));
        return nearest_scale(std::isfinite(block.sum) ? mean : block.largest, is_finite(block.largest));
    }
    static HWY_INLINE hn::Vec<Ints> nearest_code(Vec x, Vec, const Magnitudes&, std::size_t) {
        return hn::IfThenElseZero(hn::RebindMask(kInts, hn::Lt(x, hn::Zero(kFloats))), hn::Set(kInts, 1));
    }
    static HWY_INLINE hn::Vec<Ints> random_code(Vec x, Vec inverse, Vec u) {
        const Vec threshold = hn::MulAdd(hn::Mul(x, inverse), hn::Set(kFloats, 0.5F), hn::Set(kFloats, 0.5F));
        return hn::IfThenElseZero(hn::RebindMask(kInts, hn::Ge(u, threshold)), hn::Set(kInts, 1));
    }
    static HWY_INLINE Vec value(hn::Vec<Ints> code, Vec scale) {
        return hn::Xor(scale, hn::BitCast(kFloats, hn::ShiftLeft<31>(code)));
    }
};

// ---- ternary ----

struct Ternary {
    static HWY_INLINE float threshold(const Magnitudes& block, std::size_t count) {
        return 0.7F * block.sum / static_cast<float>(count);
    }
    static std::uint16_t scale(const Magnitudes& block, std::size_t count, bool stochastic) {
        if (stochastic) return block_scale(block.largest, 1, kScaleMaxUnit);
        if (!std::isfinite(block.sum)) return nearest_scale(block.largest, is_finite(block.largest));
        const Vec least = hn::Set(kFloats, threshold(block, count));
        // In fixed groups of 16, as the sum of all.
        alignas(64) float sums[16] = {};
        std::size_t sent = 0;
        for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
            const Vec magnitude = hn::Abs(hn::Load(kFloats, block.x + i));
            const auto above = hn::Gt(magnitude, least);
            float* const group = sums + i % 16;
            const Vec kept = hn::IfThenElseZero(above, magnitude);
            hn::Store(hn::Add(hn::Load(kFloats, group), kept), kFloats, group);
            sent += hn::CountTrue(kFloats, above);
        }
        float sum = 0;
        for (const float part : sums) sum += part;
        return nearest_scale(sent > 0 ? sum / static_cast<float>(sent) : 0, is_finite(block.largest));
    }
    static HWY_INLINE hn::Vec<Ints> signed_code(Vec x, hn::Mask<Floats> sent) {
        const auto negative = hn::RebindMask(kInts, hn::Lt(x, hn::Zero(kFloats)));
        const auto code = hn::IfThenElse(negative, hn::Set(kInts, 2), hn::Set(kInts, 1));
        return hn::IfThenElseZero(hn::RebindMask(kInts, sent), code);
    }
    static HWY_INLINE hn::Vec<Ints> nearest_code(Vec x, Vec, const Magnitudes& block, std::size_t count) {
        return signed_code(x, hn::Gt(hn::Abs(x), hn::Set(kFloats, threshold(block, count))));
    }
    static HWY_INLINE hn::Vec<Ints> random_code(Vec x, Vec inverse, Vec u) {
        return signed_code(x, hn::Lt(u, hn::Abs(hn::Mul(x, inverse))));
    }
    static HWY_INLINE Vec value(hn::Vec<Ints> code, Vec scale) {
        const auto sign_bit = hn::ShiftLeft<30>(hn::And(code, hn::Set(kInts, 2)));
        const auto sent = hn::RebindMask(kFloats, hn::Gt(code, hn::Zero(kInts)));
        return hn::Xor(hn::IfThenElseZero(sent, scale), hn::BitCast(kFloats, sign_bit));
    }
};

HWY_NOINLINE void QuantizeE3m0(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    quantize<4>(E3m0(), input, scales, codes);
}
HWY_NOINLINE void DequantizeE3m0(const std::byte* scales, const std::byte* codes,
                                 const DequantizeOutput& output) {
    dequantize<4>(E3m0(), scales, codes, output);
}
HWY_NOINLINE void QuantizeSign(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    quantize<1>(Sign(), input, scales, codes);
}
HWY_NOINLINE void DequantizeSign(const std::byte* scales, const std::byte* codes,
                                 const DequantizeOutput& output) {
    dequantize<1>(Sign(), scales, codes, output);
}
HWY_NOINLINE void QuantizeTernary(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    quantize<2>(Ternary(), input, scales, codes);
}
HWY_NOINLINE void DequantizeTernary(const std::byte* scales, const std::byte* codes,
                                    const DequantizeOutput& output) {
    dequantize<2>(Ternary(), scales, codes, output);
}

// ---- fp16 ----

HWY_NOINLINE void QuantizeFp16(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    const hn::Rebind<hwy::float16_t, Floats> halves;
    const hn::Rebind<std::uint16_t, Floats> words;
    choose(input.residual != nullptr, input.decoded != nullptr, [&](auto residual, auto decoded) HWY_ATTR {
        for_blocks(input, [&](const QuantizeInput& block, std::size_t at, std::size_t count) HWY_ATTR {
            Magnitudes magnitudes;
            measure<residual()>(block, magnitudes);
            const float scale =
                put_scale(power_scale(magnitudes.largest * 0x1p-15F, 112), scales + at / kBlock * 2);
            const Vec factor = hn::Set(kFloats, scale);
            const Vec inverse = hn::Set(kFloats, scale > 0 ? 1 / scale : 0);
            alignas(64) std::uint16_t staged[kBlock];
            for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
                const Vec x = hn::Load(kFloats, magnitudes.x + i);
                const Vec greatest = hn::Set(kFloats, 65504);
                const Vec y = hn::Min(hn::Max(hn::Mul(x, inverse), hn::Neg(greatest)), greatest);
                const auto half = hn::DemoteTo(halves, y);
                hn::StoreU(hn::BitCast(words, half), words, staged + i);
                store_decoded<residual(), decoded()>(block, i, x,
                                                     hn::Mul(hn::PromoteTo(kFloats, half), factor));
            }
            std::memcpy(codes + 2 * at, staged, 2 * std::min(count, kBlock));
        });
    });
}

HWY_NOINLINE void DequantizeFp16(const std::byte* scales, const std::byte* codes,
                                 const DequantizeOutput& output) {
    const hn::Rebind<hwy::float16_t, Floats> halves;
    const hn::Rebind<std::uint16_t, Floats> words;
    const Vec out_scale = hn::Set(kFloats, output.scale);
    choose(output.accumulate, false, [&](auto accumulate, auto) HWY_ATTR {
        for_blocks(output, [&](float* out, std::size_t at, std::size_t count) HWY_ATTR {
            const Vec factor = load_scale(scales, at / kBlock);
            alignas(64) std::uint16_t staged[kBlock] = {};
            std::memcpy(staged, codes + 2 * at, 2 * std::min(count, kBlock));
            for (std::size_t i = 0; i < kBlock; i += hn::Lanes(kFloats)) {
                const auto half = hn::BitCast(halves, hn::LoadU(words, staged + i));
                store_scaled<accumulate()>(hn::Mul(hn::PromoteTo(kFloats, half), factor), out_scale, out + i);
            }
        });
    });
}

}  // namespace Atoll::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels {

HWY_EXPORT(QuantizeFp16);
HWY_EXPORT(DequantizeFp16);
HWY_EXPORT(QuantizeE3m0);
HWY_EXPORT(DequantizeE3m0);
HWY_EXPORT(QuantizeSign);
HWY_EXPORT(DequantizeSign);
HWY_EXPORT(QuantizeTernary);
HWY_EXPORT(DequantizeTernary);

void quantize_fp16(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    HWY_DYNAMIC_DISPATCH(QuantizeFp16)(input, scales, codes);
}
void dequantize_fp16(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output) {
    HWY_DYNAMIC_DISPATCH(DequantizeFp16)(scales, codes, output);
}
void quantize_e3m0(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    HWY_DYNAMIC_DISPATCH(QuantizeE3m0)(input, scales, codes);
}
void dequantize_e3m0(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output) {
    HWY_DYNAMIC_DISPATCH(DequantizeE3m0)(scales, codes, output);
}
void quantize_sign(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    HWY_DYNAMIC_DISPATCH(QuantizeSign)(input, scales, codes);
}
void dequantize_sign(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output) {
    HWY_DYNAMIC_DISPATCH(DequantizeSign)(scales, codes, output);
}
void quantize_ternary(const QuantizeInput& input, std::byte* scales, std::byte* codes) {
    HWY_DYNAMIC_DISPATCH(QuantizeTernary)(input, scales, codes);
}
void dequantize_ternary(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output) {
    HWY_DYNAMIC_DISPATCH(DequantizeTernary)(scales, codes, output);
}

bool all_finite_fp16(const std::byte* codes, std::size_t count) {
    // Four at a time: adding one to an exponent of ones carries into the sign's place.
    std::uint64_t carried = 0;
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        std::uint64_t four = 0;
        std::memcpy(&four, codes + 2 * i, sizeof four);
        carried |= (four & 0x7C007C007C007C00U) + 0x0400040004000400U;
    }
    bool finite = (carried & 0x8000800080008000U) == 0;
    for (; i < count; ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, codes + 2 * i, sizeof bits);
        finite &= (bits & 0x7C00U) != 0x7C00U;
    }
    return finite;
}

bool all_valid_ternary(const std::byte* codes, std::size_t count) {
    std::uint64_t wide = 0;
    std::uint8_t both = 0;
    std::size_t i = 0;
    for (; i + 8 <= (count + 3) / 4; i += 8) {
        std::uint64_t eight = 0;
        std::memcpy(&eight, codes + i, sizeof eight);
        wide |= eight & (eight >> 1U) & 0x5555555555555555U;
    }
    for (; i < (count + 3) / 4; ++i) {
        const auto byte = std::to_integer<std::uint8_t>(codes[i]);
        both |= static_cast<std::uint8_t>(byte & (byte >> 1U) & 0x55U);
    }
    return both == 0 && wide == 0;
}

}  // namespace Atoll::kernels
#endif  // HWY_ONCE

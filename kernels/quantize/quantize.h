// Quantisation: floats to fewer bits and back, in one pass over memory, vectorised for the CPU at hand.
//
// Error feedback (Seide et al. 2014) is fused into encoding: x = values + residual is quantised, and residual
// becomes x - decoded(x). That difference is exact in fp32 for every format here, because decoded values have
// at most 15 significant bits and lie within a factor of two of x unless they are zero; residual + decoded
// gives x back bit for bit.
//
// Encoded bytes are little-endian and need no alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace Atoll::kernels {

// Values that share a scale in the int8 and int4 formats: 16 bits of scale cost 0.0625 bits a value.
inline constexpr std::size_t kQuantizeBlock = 256;

struct QuantizeInput {
    const float* values = nullptr;  // [count], finite
    float* residual = nullptr;      // [count], updated; or nullptr: taken as zero and not written
    float* decoded = nullptr;       // [count], what decoding will give; or nullptr. May be `values`.
    std::size_t count = 0;
    // Round at random so that the mean is exact, where the format can; the choice follows from `noise` and
    // the place of a value in its vector, `first` being that of values[0].
    bool stochastic = false;
    std::uint64_t noise = 0;
    std::size_t first = 0;
};

// out[i] = decoded * scale, or += if accumulate.
struct DequantizeOutput {
    float* out = nullptr;  // [count]
    std::size_t count = 0;
    float scale = 1;
    bool accumulate = false;
};

// fp32 as it is: 4 bytes a value.
void quantize_fp32(const QuantizeInput& input, std::byte* out);
void dequantize_fp32(const std::byte* in, const DequantizeOutput& output);

// bf16, rounded to nearest even: 2 bytes a value. What would round to infinity becomes the greatest finite
// bf16.
void quantize_bf16(const QuantizeInput& input, std::byte* out);
void dequantize_bf16(const std::byte* in, const DequantizeOutput& output);

// int8: a bf16 scale for each block of kQuantizeBlock, at least (largest magnitude) / 127, then one byte a
// value, round(x / scale). A block that is not finite gets an infinite scale, which all_scales_valid()
// refuses.
void quantize_int8(const QuantizeInput& input, std::byte* scales, std::byte* codes);
void dequantize_int8(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output);

// int4: likewise with 7 in place of 127. A block of c values takes h = ceil(c / 2) bytes; byte j holds value
// j in its low and value j + h in its high nibble, two's complement.
void quantize_int4(const QuantizeInput& input, std::byte* scales, std::byte* codes);
void dequantize_int4(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output);

// The following share a bf16 scale in blocks of 256 too; the codes of a block stand in order, the first value
// in the lowest bits.

// fp16 of x / scale, the scale a power of two that brings the largest magnitude to 2^14..2^15: 2 bytes a
// value, 11 significant bits whatever the magnitude of the block.
void quantize_fp16(const QuantizeInput& input, std::byte* scales, std::byte* codes);
void dequantize_fp16(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output);
[[nodiscard]] bool all_finite_fp16(const std::byte* codes, std::size_t count);

// E3M0 (Streaming DiLoCo): a sign and 3 bits of exponent. Magnitudes 0 and scale * 2^-6 .. scale, the nearest
// is taken; the scale is the power of two with 0.75 scale < largest <= 1.5 scale (at random rounding: the
// least that is not below the largest). Code 0 is zero, code c = 1..7 is scale * 2^(c - 7), bit 3 the sign.
void quantize_e3m0(const QuantizeInput& input, std::byte* scales, std::byte* codes);
void dequantize_e3m0(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output);

// One bit a value, 1 = negative; the scale is the mean magnitude, which minimises the squared error (at
// random rounding: the largest magnitude, and +scale with probability (1 + x / scale) / 2).
void quantize_sign(const QuantizeInput& input, std::byte* scales, std::byte* codes);
void dequantize_sign(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output);

// Two bits a value: 0, 1 = +scale, 2 = -scale (3 is invalid). Magnitudes above 0.7 times the mean one are
// sent, the scale is their mean (Li and Liu 2016); at random rounding (TernGrad, Wen et al. 2017) the scale
// is the largest magnitude, sent with probability |x| / scale.
void quantize_ternary(const QuantizeInput& input, std::byte* scales, std::byte* codes);
void dequantize_ternary(const std::byte* scales, const std::byte* codes, const DequantizeOutput& output);
[[nodiscard]] bool all_valid_ternary(const std::byte* codes, std::size_t count);

// Greatest scales, as bf16 bits: whatever the code, code * scale is finite. Magnitudes beyond 127 (7) times
// them saturate.
inline constexpr std::uint16_t kScaleMaxInt8 = 0x7BFF;  // 2^121 * 255/256
inline constexpr std::uint16_t kScaleMaxInt4 = 0x7DFF;  // 2^125 * 255/256
inline constexpr std::uint16_t kScaleMaxFp16 = 0x7780;  // 2^112: 65504 times it is finite
inline constexpr std::uint16_t kScaleMaxUnit = 0x7F7F;  // e3m0, sign, ternary: codes are at most one

[[nodiscard]] bool all_finite_fp32(const std::byte* in, std::size_t count);
[[nodiscard]] bool all_finite_bf16(const std::byte* in, std::size_t count);
// Each of `count` scales is zero, or normal, positive and at most `scale_max`.
[[nodiscard]] bool all_scales_valid(const std::byte* scales, std::size_t count, std::uint16_t scale_max);

// Sum of squares, accumulated in double in a fixed order; infinity or NaN if a value is not finite.
[[nodiscard]] double sum_of_squares(const float* values, std::size_t count);
// Of the differences, taken in double.
[[nodiscard]] double squared_distance(const float* a, const float* b, std::size_t count);

}  // namespace Atoll::kernels

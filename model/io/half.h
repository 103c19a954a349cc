// Two-byte floating point as stored in files: bfloat16 and IEEE half precision.
#pragma once

#include <cstdint>

namespace Atoll::model {

// Rounding to the nearest, ties to even; NaN stays NaN, what is too large becomes infinite.
[[nodiscard]] std::uint16_t to_bf16(float value);
[[nodiscard]] float from_bf16(std::uint16_t bits);
[[nodiscard]] std::uint16_t to_f16(float value);
[[nodiscard]] float from_f16(std::uint16_t bits);

}  // namespace Atoll::model

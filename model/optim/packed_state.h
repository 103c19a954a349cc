// fp32 vectors in 16 or 8 bits, for optimizer state that is read and written in every step. Rounding is at
// random so that its mean is exact: an average that moves by a thousandth in a step would stand still forever
// if it was rounded to the nearest of values a hundredth apart. A value that is representable stays as it is.
//
//   bf16   the upper half of an fp32
//   int8   8 bits a value, a floating-point number relative to a power of two that is as large as the block's
//   largest:
//          3 bits of mantissa, 4 of exponent and a sign (15 octaves), or 5 of exponent where no value is
//          negative (31)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace Atoll::model {

enum class StateFormat { fp32, bf16, int8 };

// Errors (invalid): not fp32, bf16 or int8.
[[nodiscard]] Result<StateFormat> state_format(std::string_view name);
[[nodiscard]] std::string_view state_format_name(StateFormat format);

constexpr std::size_t kStateBlock = 256;  // values that share a scale

// How a vector of `size` values is kept, in floats (4 bytes each).
[[nodiscard]] std::size_t packed_floats(StateFormat format, std::size_t size);

enum class Sign { both, positive };

// Values first .. first + values.size() of the vector of `size` values that is kept in `packed`.
// Preconditions: format is not fp32; `first` is a multiple of kStateBlock, and so is values.size() unless the
// vector ends there.
void unpack(StateFormat format, Sign sign, std::span<const float> packed, std::size_t size, std::size_t first,
            std::span<float> values);
// `seed` decides the rounding; positive values never become zero (they are divided by).
void pack(StateFormat format, Sign sign, std::span<float> packed, std::size_t size, std::size_t first,
          std::span<const float> values, std::uint32_t seed);

}  // namespace Atoll::model

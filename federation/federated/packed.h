// Whole numbers inside float vectors, which is what checkpoints hold: exact, 24 bits a float.
#pragma once

#include <cstdint>
#include <span>

namespace Atoll::federation {

inline constexpr std::size_t kPackedFloats = 3;  // 72 bits

inline void pack(std::uint64_t value, std::span<float, kPackedFloats> out) {
    for (float& digit : out) {
        digit = static_cast<float>(value & 0xFFFFFFU);
        value >>= 24U;
    }
}

[[nodiscard]] inline std::uint64_t unpack(std::span<const float, kPackedFloats> in) {
    std::uint64_t value = 0;
    for (std::size_t i = kPackedFloats; i-- > 0;) value = value << 24U | static_cast<std::uint32_t>(in[i]);
    return value;
}

}  // namespace Atoll::federation

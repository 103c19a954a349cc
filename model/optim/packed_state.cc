#include "model/optim/packed_state.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace Atoll::model {

namespace {

constexpr std::array kNames = {std::string_view("fp32"), std::string_view("bf16"), std::string_view("int8")};

// A well mixed 32-bit number of (seed, index): the finaliser of MurmurHash3.
std::uint32_t noise(std::uint32_t seed, std::size_t index) {
    std::uint32_t h = static_cast<std::uint32_t>(index) * 0x9E3779B9U + seed;
    h = (h ^ (h >> 16U)) * 0x85EBCA6BU;
    h = (h ^ (h >> 13U)) * 0xC2B2AE35U;
    return h ^ (h >> 16U);
}

// Of the fp32 pattern of a value in (0, 1] its sign and the 20 lowest bits of the mantissa are dropped; then
// codes are the rest minus that of the smallest exponent. Code 0 is zero.
constexpr unsigned kDropped = 20;
constexpr std::uint32_t kDroppedMask = (1U << kDropped) - 1;
constexpr std::uint32_t kSignCode = 0x80;
constexpr std::uint32_t base_code(Sign sign) { return (127U - (sign == Sign::both ? 15U : 31U)) << 3U; }

std::uint32_t encode(Sign sign, float value, std::uint32_t random) {
    if (value == 0) return 0;
    const std::uint32_t base = base_code(sign);
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(std::abs(value));
    const std::uint32_t negative = value < 0 ? kSignCode : 0;
    const std::uint32_t rounded = (bits + (random & kDroppedMask)) >> kDropped;
    if (rounded > base) return (rounded - base) | negative;
    if (sign == Sign::positive) return 1;
    // Between zero and the smallest code.
    const float smallest = std::bit_cast<float>((base + 1) << kDropped);
    const double share = static_cast<double>(std::abs(value)) / static_cast<double>(smallest);
    return static_cast<double>(random) < share * 4294967296.0 ? 1U | negative : 0;
}

float decode(Sign sign, std::uint32_t code) {
    const bool negative = sign == Sign::both && (code & kSignCode) != 0;
    const std::uint32_t magnitude = sign == Sign::both ? code & ~kSignCode : code;
    if (magnitude == 0) return 0;
    const float value = std::bit_cast<float>((magnitude + base_code(sign)) << kDropped);
    return negative ? -value : value;
}

std::size_t blocks(std::size_t size) { return (size + kStateBlock - 1) / kStateBlock; }

}  // namespace

Result<StateFormat> state_format(std::string_view name) {
    const auto found = std::ranges::find(kNames, name);
    if (found != kNames.end()) return static_cast<StateFormat>(found - kNames.begin());
    return Error{ErrorCode::invalid, fmt::format("optimizer.state = {}: expected fp32, bf16 or int8", name)};
}

std::string_view state_format_name(StateFormat format) { return kNames[static_cast<std::size_t>(format)]; }

std::size_t packed_floats(StateFormat format, std::size_t size) {
    switch (format) {
        case StateFormat::fp32: return size;
        case StateFormat::bf16: return (size + 1) / 2;
        case StateFormat::int8: return blocks(size) + (size + 3) / 4;
    }
    return 0;
}

void unpack(StateFormat format, Sign sign, std::span<const float> packed, std::size_t size, std::size_t first,
            std::span<float> values) {
    ATOLL_CHECK(first % kStateBlock == 0 && first + values.size() <= size);
    if (format == StateFormat::bf16) {
        const auto* const halves = reinterpret_cast<const std::uint16_t*>(packed.data()) + first;
        for (std::size_t i = 0; i < values.size(); ++i)
            values[i] = std::bit_cast<float>(static_cast<std::uint32_t>(halves[i]) << 16U);
        return;
    }
    // Codes follow the scales.
    const auto* const from = reinterpret_cast<const std::uint8_t*>(packed.data() + blocks(size)) + first;
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = decode(sign, from[i]) * packed[(first + i) / kStateBlock];
}

void pack(StateFormat format, Sign sign, std::span<float> packed, std::size_t size, std::size_t first,
          std::span<const float> values, std::uint32_t seed) {
    ATOLL_CHECK(first % kStateBlock == 0 && first + values.size() <= size);
    if (format == StateFormat::bf16) {
        auto* const halves = reinterpret_cast<std::uint16_t*>(packed.data()) + first;
        for (std::size_t i = 0; i < values.size(); ++i) {
            const std::uint32_t bits =
                std::bit_cast<std::uint32_t>(values[i]) + (noise(seed, first + i) & 0xFFFFU);
            halves[i] = static_cast<std::uint16_t>(bits >> 16U);
        }
        return;
    }
    auto* const to = reinterpret_cast<std::uint8_t*>(packed.data() + blocks(size)) + first;
    for (std::size_t begin = 0; begin < values.size(); begin += kStateBlock) {
        const auto block = values.subspan(begin, std::min(kStateBlock, values.size() - begin));
        float largest = 0;
        for (const float value : block) largest = std::max(largest, std::abs(value));
        int exponent = 0;
        const float fraction = std::frexp(largest, &exponent);  // in [0.5, 1)
        if (fraction == 0.5F) --exponent;                       // the largest is a power of two itself
        const float scale = largest > 0 ? std::ldexp(1.0F, exponent) : 0;
        packed[(first + begin) / kStateBlock] = scale;
        for (std::size_t i = 0; i < block.size(); ++i) {
            const float relative = scale > 0 ? block[i] / scale : 0;
            to[begin + i] = static_cast<std::uint8_t>(encode(sign, relative, noise(seed, first + begin + i)));
        }
    }
}

}  // namespace Atoll::model

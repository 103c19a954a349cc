#include "base/rng.h"

#include <cmath>
#include <numbers>

namespace Atoll {

std::uint64_t mix64(std::uint64_t z) {
    z += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
}

Rng Rng::split(std::string_view name, std::uint64_t index) const {
    std::uint64_t h = 0xcbf29ce484222325ULL;  // FNV-1a
    for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return Rng(mix64(mix64(key_ ^ h) + index));
}

void Rng::refill() {
    const std::uint64_t block = position_ / 4;
    if (block == block_index_) return;
    block_index_ = block;
    std::array<std::uint32_t, 4> x{static_cast<std::uint32_t>(block),
                                   static_cast<std::uint32_t>(block >> 32U), 0, 0};
    std::uint32_t k0 = static_cast<std::uint32_t>(key_);
    std::uint32_t k1 = static_cast<std::uint32_t>(key_ >> 32U);
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * x[0];
        const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * x[2];
        x = {static_cast<std::uint32_t>(p1 >> 32U) ^ x[1] ^ k0, static_cast<std::uint32_t>(p1),
             static_cast<std::uint32_t>(p0 >> 32U) ^ x[3] ^ k1, static_cast<std::uint32_t>(p0)};
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    block_ = x;
}

std::uint32_t Rng::bits32() {
    refill();
    return block_[position_++ % 4];
}

std::uint64_t Rng::bits64() {
    const std::uint64_t low = bits32();
    return low | (std::uint64_t{bits32()} << 32U);
}

double Rng::uniform() { return static_cast<double>(bits64() >> 11U) * 0x1.0p-53; }

std::uint64_t Rng::below(std::uint64_t bound) {
    const std::uint64_t threshold =
        (0 - bound) % bound;  // 2^64 mod bound: the values that would favour small results
    for (;;) {
        const std::uint64_t bits = bits64();
        if (bits >= threshold) return bits % bound;
    }
}

double Rng::normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

void Rng::seek(std::uint64_t position) { position_ = position; }

}  // namespace Atoll

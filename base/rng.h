// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): the same bits on every machine, split by
// name so that a new consumer never shifts the numbers of an old one.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace Atoll {

class Rng {
  public:
    explicit Rng(std::uint64_t seed) : key_(seed) {}

    // An independent generator named `name` (and `index`): a pure function of this one's seed, not of its
    // position.
    [[nodiscard]] Rng split(std::string_view name, std::uint64_t index = 0) const;

    [[nodiscard]] std::uint32_t bits32();
    [[nodiscard]] std::uint64_t bits64();
    // Uniform in [0, 1) with 53 random bits.
    [[nodiscard]] double uniform();
    // Uniform in 0..bound-1 without bias. Precondition: bound > 0.
    [[nodiscard]] std::uint64_t below(std::uint64_t bound);
    // Standard normal (Box-Muller).
    [[nodiscard]] double normal();

    // Position in the stream, for checkpoints: seek(position()) on an equal generator continues bit for bit.
    [[nodiscard]] std::uint64_t position() const { return position_; }
    void seek(std::uint64_t position);

  private:
    void refill();

    std::uint64_t key_;
    std::uint64_t position_ = 0;  // in 32-bit words
    std::uint64_t block_index_ = ~std::uint64_t{0};
    std::array<std::uint32_t, 4> block_{};
};

// 64-bit mix (SplitMix64's finaliser) for seeds and stateless hashes of integers.
[[nodiscard]] std::uint64_t mix64(std::uint64_t value);

}  // namespace Atoll

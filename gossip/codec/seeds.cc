// Seeds and scalars: of every 4096 values 16 projections onto random directions of +-1, which follow from the
// shared seed and are never sent; 0.125 bits a value. It is what zeroth-order tuning sends (MeZO, Malladi et
// al. 2023; FedKSeed, Qin et al. 2024), used here as a codec: with K directions z of length n,
//   s_k = <z_k, x>        decoded = sum_k s_k z_k / (n + K - 1)
// which has the least expected error, a fraction 1 - K / (n + K - 1) of |x|^2 (E z z^T = I, |z|^2 = n). At
// random rounding the divisor is K: unbiased.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/rng.h"
#include "gossip/codec/group_codec.h"

namespace Atoll::gossip {

namespace {

constexpr std::size_t kGroup = 4096;
constexpr double kDensity = 16.0 / 4096;

// Calls task(i, +1 or -1) for the components of direction k.
template <typename Task>
void for_direction(std::size_t count, std::uint64_t seed, std::size_t k, const Task& task) {
    const std::uint64_t stream = mix64(seed ^ mix64(k));
    for (std::size_t word = 0; word * 64 < count; ++word) {
        const std::uint64_t bits = mix64(stream + word);
        const std::size_t end = std::min<std::size_t>(64, count - word * 64);
        for (std::size_t j = 0; j < end; ++j) task(word * 64 + j, (bits >> j & 1U) != 0 ? -1.0F : 1.0F);
    }
}

class Seeds final : public GroupCodec {
  public:
    explicit Seeds(const CodecOptions& options)
        : GroupCodec({.name = "seeds", .wire_id = 12, .group = kGroup, .seeded = true}, options.threads),
          density_(options.density > 0 ? options.density : kDensity),
          unbiased_(options.stochastic) {}

  protected:
    [[nodiscard]] std::size_t group_bytes(std::size_t count) const override {
        return sizeof(float) * kept_of(count, density_);
    }

    void encode_group(std::span<const float> x, std::uint64_t seed, std::byte* out) const override {
        const std::size_t directions = kept_of(x.size(), density_);
        const double divisor = static_cast<double>(unbiased_ ? directions : x.size() + directions - 1);
        for (std::size_t k = 0; k < directions; ++k) {
            double sum = 0;
            for_direction(x.size(), seed, k, [&](std::size_t i, float sign) {
                sum += static_cast<double>(x[i]) * static_cast<double>(sign);
            });
            // So small that the sum over all directions stays finite.
            const double bound = 3e38 / static_cast<double>(directions);
            const auto scalar = static_cast<float>(std::clamp(sum / divisor, -bound, bound));
            std::memcpy(out + k * sizeof scalar, &scalar, sizeof scalar);
        }
    }

    [[nodiscard]] bool decode_group(const std::byte* in, std::uint64_t seed,
                                    std::span<float> out) const override {
        std::ranges::fill(out, 0.0F);
        const std::size_t directions = kept_of(out.size(), density_);
        for (std::size_t k = 0; k < directions; ++k) {
            float scalar = 0;
            std::memcpy(&scalar, in + k * sizeof scalar, sizeof scalar);
            if (!std::isfinite(scalar)) return false;
            for_direction(out.size(), seed, k, [&](std::size_t i, float sign) { out[i] += scalar * sign; });
        }
        return std::ranges::all_of(out, [](float value) { return std::isfinite(value); });
    }

    void poison(std::byte* out, std::size_t count) const override {
        std::fill_n(out, group_bytes(count), std::byte{0xFF});
    }

  private:
    double density_;
    bool unbiased_;
};

}  // namespace

std::unique_ptr<Codec> make_seeds_codec(const CodecOptions& options) {
    return std::make_unique<Seeds>(options);
}

}  // namespace Atoll::gossip

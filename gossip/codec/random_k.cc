// Random-k: of every 4096 values 64 at places drawn from the shared seed, in fp32; 0.5 bits a value. All
// members send the same places in a round, so that the mean there is exact; error feedback keeps the rest. At
// random rounding the values are scaled by count / k: unbiased without error feedback (Stich et al. 2018,
// section 2).
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "base/rng.h"
#include "gossip/codec/group_codec.h"

namespace Atoll::gossip {

namespace {

constexpr std::size_t kGroup = 4096;
constexpr double kDensity = 64.0 / 4096;

// `kept` different places below `count`, ascending (Floyd's algorithm).
std::vector<std::uint16_t> draw_places(std::size_t count, std::size_t kept, std::uint64_t seed) {
    Rng rng(seed);
    std::vector<bool> taken(count, false);
    for (std::size_t last = count - kept; last < count; ++last) {
        const auto place = static_cast<std::size_t>(rng.below(last + 1));
        taken[taken[place] ? last : place] = true;
    }
    std::vector<std::uint16_t> places;
    places.reserve(kept);
    for (std::size_t i = 0; i < count; ++i) {
        if (taken[i]) places.push_back(static_cast<std::uint16_t>(i));
    }
    return places;
}

class RandomK final : public GroupCodec {
  public:
    explicit RandomK(const CodecOptions& options)
        : GroupCodec({.name = "random_k", .wire_id = 9, .group = kGroup, .seeded = true}, options.threads),
          density_(options.density > 0 ? options.density : kDensity),
          unbiased_(options.stochastic) {}

  protected:
    [[nodiscard]] std::size_t group_bytes(std::size_t count) const override {
        return sizeof(float) * kept_of(count, density_);
    }

    void encode_group(std::span<const float> x, std::uint64_t seed, std::byte* out) const override {
        const std::size_t kept = kept_of(x.size(), density_);
        const float scale = unbiased_ ? static_cast<float>(x.size()) / static_cast<float>(kept) : 1;
        for (const std::uint16_t place : draw_places(x.size(), kept, seed)) {
            constexpr float kGreatest = std::numeric_limits<float>::max();
            const float value = std::clamp(x[place] * scale, -kGreatest, kGreatest);
            std::memcpy(out, &value, sizeof value);
            out += sizeof value;
        }
    }

    [[nodiscard]] bool decode_group(const std::byte* in, std::uint64_t seed,
                                    std::span<float> out) const override {
        std::ranges::fill(out, 0.0F);
        bool valid = true;
        for (const std::uint16_t place : draw_places(out.size(), kept_of(out.size(), density_), seed)) {
            std::memcpy(&out[place], in, sizeof(float));
            valid &= std::isfinite(out[place]);
            in += sizeof(float);
        }
        return valid;
    }

    void poison(std::byte* out, std::size_t count) const override {
        std::fill_n(out, group_bytes(count), std::byte{0xFF});
    }

  private:
    double density_;
    bool unbiased_;
};

}  // namespace

std::unique_ptr<Codec> make_random_k_codec(const CodecOptions& options) {
    return std::make_unique<RandomK>(options);
}

}  // namespace Atoll::gossip

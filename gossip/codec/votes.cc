#include "gossip/codec/votes.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/check.h"

namespace Atoll::gossip {

namespace {

Error corrupt(std::string_view codec, const std::string& what) {
    return {ErrorCode::corrupt, fmt::format("{}: {}", codec, what)};
}

// What all have in common: small whole numbers in place of the values, in groups of whole bytes.
class VoteCodec : public Codec {
  public:
    [[nodiscard]] bool lossless() const override { return true; }

    std::size_t encode(std::span<const float> values, std::span<float> residual, std::span<std::byte> out,
                       std::span<float> decoded, const CodecSeed&) const override {
        ATOLL_CHECK(out.size() >= encoded_bytes(values.size()) && residual.empty());
        if (!decoded.empty() && decoded.data() != values.data()) std::ranges::copy(values, decoded.begin());
        const std::size_t bytes = encoded_bytes(values.size());
        std::ranges::fill(out.first(bytes), std::byte{0});
        pack(values, out);
        return bytes;
    }

    [[nodiscard]] Status decode(ByteView bytes, std::span<float> out, float scale,
                                bool accumulate) const override {
        if (bytes.size() != encoded_bytes(out.size())) {
            return corrupt(name(), fmt::format("{} bytes for {} values; expected {}", bytes.size(),
                                               out.size(), encoded_bytes(out.size())));
        }
        ATOLL_TRY(check(bytes, out.size()));
        for (std::size_t i = 0; i < out.size(); ++i) {
            const float value = scale * value_at(bytes, i);
            out[i] = accumulate ? out[i] + value : value;
        }
        return {};
    }

  protected:
    virtual void pack(std::span<const float> values, std::span<std::byte> out) const = 0;
    // Of bytes that are as many as they should be.
    [[nodiscard]] virtual Status check(ByteView bytes, std::size_t count) const = 0;
    [[nodiscard]] virtual float value_at(ByteView bytes, std::size_t i) const = 0;
};

class SignVotes final : public VoteCodec {
  public:
    [[nodiscard]] std::string_view name() const override { return "sign votes"; }
    [[nodiscard]] std::uint8_t wire_id() const override { return 240; }
    [[nodiscard]] std::size_t encoded_bytes(std::size_t count) const override { return (count + 7) / 8; }

  protected:
    void pack(std::span<const float> values, std::span<std::byte> out) const override {
        for (std::size_t i = 0; i < values.size(); ++i) {
            if (values[i] > 0) out[i / 8] |= std::byte{1} << (i % 8);
        }
    }
    Status check(ByteView bytes, std::size_t count) const override {
        if (count % 8 != 0 && (bytes.back() >> (count % 8)) != std::byte{0})
            return corrupt(name(), "bits behind the last value");
        return {};
    }
    float value_at(ByteView bytes, std::size_t i) const override {
        return (bytes[i / 8] >> (i % 8) & std::byte{1}) == std::byte{1} ? 1.0F : -1.0F;
    }
};

class TernaryVotes final : public VoteCodec {
  public:
    [[nodiscard]] std::string_view name() const override { return "ternary votes"; }
    [[nodiscard]] std::uint8_t wire_id() const override { return 241; }
    [[nodiscard]] std::size_t encoded_bytes(std::size_t count) const override { return (count + 4) / 5; }

  protected:
    static constexpr unsigned kPowers[] = {1, 3, 9, 27, 81};

    void pack(std::span<const float> values, std::span<std::byte> out) const override {
        for (std::size_t byte = 0; byte < encoded_bytes(values.size()); ++byte) {
            unsigned number = 0;
            for (std::size_t k = 0; k < 5; ++k) {
                const float value = 5 * byte + k < values.size() ? values[5 * byte + k] : 0.0F;
                number += kPowers[k] * (value > 0 ? 2U : value < 0 ? 0U : 1U);
            }
            out[byte] = static_cast<std::byte>(number);
        }
    }
    Status check(ByteView bytes, std::size_t) const override {
        const auto too_large = [](std::byte byte) { return std::to_integer<unsigned>(byte) >= 243; };
        if (std::ranges::any_of(bytes, too_large)) return corrupt(name(), "a byte above 242");
        return {};
    }
    float value_at(ByteView bytes, std::size_t i) const override {
        const unsigned digit = std::to_integer<unsigned>(bytes[i / 5]) / kPowers[i % 5] % 3;
        return static_cast<float>(digit) - 1;
    }
};

class VoteCounts final : public VoteCodec {
  public:
    explicit VoteCounts(std::size_t n) : n_(n), bits_(static_cast<unsigned>(std::bit_width(n))) {}
    [[nodiscard]] std::string_view name() const override { return "vote counts"; }
    [[nodiscard]] std::uint8_t wire_id() const override { return 242; }
    [[nodiscard]] std::size_t encoded_bytes(std::size_t count) const override {
        return (count * bits_ + 7) / 8;
    }

  protected:
    void pack(std::span<const float> values, std::span<std::byte> out) const override {
        const double n = static_cast<double>(n_);
        for (std::size_t i = 0; i < values.size(); ++i) {
            const double count = std::round((static_cast<double>(values[i]) * n + n) / 2);
            const auto c = static_cast<std::size_t>(std::clamp(count, 0.0, n));
            for (unsigned bit = 0; bit < bits_; ++bit) {
                const std::size_t at = i * bits_ + bit;
                if ((c >> bit & 1U) != 0) out[at / 8] |= std::byte{1} << (at % 8);
            }
        }
    }
    Status check(ByteView bytes, std::size_t count) const override {
        for (std::size_t i = 0; i < count; ++i) {
            if (count_at(bytes, i) > n_) return corrupt(name(), "more votes than voters");
        }
        return {};
    }
    float value_at(ByteView bytes, std::size_t i) const override {
        const double n = static_cast<double>(n_);
        return static_cast<float>((2 * static_cast<double>(count_at(bytes, i)) - n) / n);
    }

  private:
    [[nodiscard]] std::size_t count_at(ByteView bytes, std::size_t i) const {
        std::size_t c = 0;
        for (unsigned bit = 0; bit < bits_; ++bit) {
            const std::size_t at = i * bits_ + bit;
            if ((bytes[at / 8] >> (at % 8) & std::byte{1}) == std::byte{1}) c |= std::size_t{1} << bit;
        }
        return c;
    }

    std::size_t n_;
    unsigned bits_;
};

}  // namespace

std::unique_ptr<Codec> make_sign_votes() { return std::make_unique<SignVotes>(); }

std::unique_ptr<Codec> make_ternary_votes() { return std::make_unique<TernaryVotes>(); }

std::unique_ptr<Codec> make_vote_counts(std::size_t n) {
    ATOLL_CHECK(n >= 1 && n <= 65535);
    return std::make_unique<VoteCounts>(n);
}

}  // namespace Atoll::gossip

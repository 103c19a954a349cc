// Codecs that work on groups of values one at a time: sparse ones, and those that change the basis. The
// payload is the shared seed (if the codec has one), then the groups in order, each of an exact size.
#pragma once

#include "gossip/codec/entries.h"

namespace Atoll::gossip {

class GroupCodec : public Codec {
  public:
    struct Description {
        std::string_view name;
        std::uint8_t wire_id = 0;
        std::size_t group = 0;  // values; the last group may be shorter
        bool seeded = false;    // the payload starts with the shared seed, 8 bytes
    };
    GroupCodec(const Description& description, int threads) : description_(description), threads_(threads) {}

    [[nodiscard]] std::string_view name() const override { return description_.name; }
    [[nodiscard]] std::uint8_t wire_id() const override { return description_.wire_id; }
    [[nodiscard]] bool lossless() const override { return false; }
    [[nodiscard]] std::size_t encoded_bytes(std::size_t count) const override;
    std::size_t encode(std::span<const float> values, std::span<float> residual, std::span<std::byte> out,
                       std::span<float> decoded, const CodecSeed& seed) const override;
    [[nodiscard]] Status decode(ByteView bytes, std::span<float> out, float scale,
                                bool accumulate) const override;

  protected:
    // Of a group of `count` values, 0 < count <= group.
    [[nodiscard]] virtual std::size_t group_bytes(std::size_t count) const = 0;
    // Writes group_bytes(x.size()) bytes. `seed` differs from group to group. x is finite.
    virtual void encode_group(std::span<const float> x, std::uint64_t seed, std::byte* out) const = 0;
    // False if the bytes are not what an encoder writes, or decode to a value that is not finite.
    [[nodiscard]] virtual bool decode_group(const std::byte* in, std::uint64_t seed,
                                            std::span<float> out) const = 0;
    // Bytes that decode_group() refuses: in the place of values that are not finite.
    virtual void poison(std::byte* out, std::size_t count) const = 0;

  private:
    struct Group {
        std::size_t begin = 0, count = 0;  // values
        std::size_t at = 0;                // in the payload
        std::uint64_t seed = 0;
    };
    [[nodiscard]] Group group(std::size_t index, std::size_t count, std::uint64_t seed) const;
    void for_groups(std::size_t count, std::uint64_t seed,
                    const std::function<void(const Group&, std::span<float> scratch)>& task) const;

    Description description_;
    CodecThreads threads_;
};

// ---- pieces of payloads ----

// `count` indices of 12 bits, two in three bytes.
[[nodiscard]] constexpr std::size_t index_bytes(std::size_t count) { return (count * 12 + 7) / 8; }
void pack_indices(std::span<const std::uint16_t> indices, std::byte* out);
// False unless they rise strictly and stay below `limit`.
[[nodiscard]] bool unpack_indices(const std::byte* in, std::size_t limit, std::span<std::uint16_t> indices);

// Nearest bf16, ties upwards, as bits; saturates below infinity. And back.
[[nodiscard]] std::uint16_t to_bf16(float value);
[[nodiscard]] float from_bf16(std::uint16_t bits);

// How many of `count` values of a group are sent at `density` (0 < density <= 1): at least one.
[[nodiscard]] std::size_t kept_of(std::size_t count, double density);

}  // namespace Atoll::gossip

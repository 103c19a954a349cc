// Top-k with 12-bit indices and 2-bit values, as SparseLoCo (2508.15706; Covenant-72B, 2603.08163): of every
// 4096 values the 64 largest, 0.221 bits a value. Chunks are stretches of the flat vector. A value is sent as
// a sign and one of two magnitudes: those sent from four chunks are split at their mean magnitude, and the
// means of the two halves (bf16) travel with them.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "gossip/codec/group_codec.h"
#include "kernels/sparse/top_k.h"

namespace Atoll::gossip {

namespace {

constexpr std::size_t kChunk = kernels::kTopKCountMax;
constexpr std::size_t kChunks = 4;  // that share a table
constexpr std::size_t kTableBytes = 4;
constexpr double kDensity = 64.0 / 4096;

class TopK final : public GroupCodec {
  public:
    explicit TopK(const CodecOptions& options)
        : GroupCodec({.name = "topk", .wire_id = 8, .group = kChunk * kChunks}, options.threads),
          density_(options.density > 0 ? options.density : kDensity) {}

  protected:
    [[nodiscard]] std::size_t group_bytes(std::size_t count) const override {
        std::size_t bytes = kTableBytes;
        for (std::size_t at = 0; at < count; at += kChunk) bytes += chunk_bytes(std::min(kChunk, count - at));
        return bytes;
    }

    void encode_group(std::span<const float> x, std::uint64_t, std::byte* out) const override {
        std::uint16_t indices[kChunks][kChunk];
        double sum = 0;
        std::size_t sent = 0;
        for_chunks(x.size(), [&](std::size_t chunk, std::size_t begin, std::size_t count, std::size_t kept) {
            kernels::top_k(x.data() + begin, count, kept, indices[chunk]);
            for (std::size_t i = 0; i < kept; ++i) sum += magnitude(x[begin + indices[chunk][i]]);
            sent += kept;
        });
        const double split = sum / static_cast<double>(sent);
        double halves[2] = {0, 0};
        std::size_t counts[2] = {0, 0};
        for_chunks(x.size(), [&](std::size_t chunk, std::size_t begin, std::size_t, std::size_t kept) {
            for (std::size_t i = 0; i < kept; ++i) {
                const double m = magnitude(x[begin + indices[chunk][i]]);
                halves[m > split ? 1 : 0] += m;
                ++counts[m > split ? 1 : 0];
            }
        });
        std::uint16_t table[2];
        for (const std::size_t half : {0U, 1U}) {
            const double mean = counts[half] > 0 ? halves[half] / static_cast<double>(counts[half]) : 0;
            table[half] = to_bf16(static_cast<float>(mean));
        }
        std::memcpy(out, table, kTableBytes);
        std::byte* to = out + kTableBytes;
        for_chunks(x.size(), [&](std::size_t chunk, std::size_t begin, std::size_t count, std::size_t kept) {
            pack_indices({indices[chunk], kept}, to);
            std::byte* const codes = to + index_bytes(kept);
            std::fill_n(codes, (kept + 3) / 4, std::byte{0});
            for (std::size_t i = 0; i < kept; ++i) {
                const float value = x[begin + indices[chunk][i]];
                const unsigned code = (magnitude(value) > split ? 1U : 0U) | (value < 0 ? 2U : 0U);
                codes[i / 4] |= static_cast<std::byte>(code << (i % 4 * 2));
            }
            to += chunk_bytes(count);
        });
    }

    [[nodiscard]] bool decode_group(const std::byte* in, std::uint64_t, std::span<float> out) const override {
        std::uint16_t table[2];
        std::memcpy(table, in, kTableBytes);
        if (table[0] >= 0x7F80 || table[1] >= 0x7F80) return false;  // negative, infinite or NaN
        const float values[4] = {from_bf16(table[0]), from_bf16(table[1]), -from_bf16(table[0]),
                                 -from_bf16(table[1])};
        std::ranges::fill(out, 0.0F);
        const std::byte* from = in + kTableBytes;
        bool valid = true;
        std::uint16_t indices[kChunk];
        for_chunks(out.size(), [&](std::size_t, std::size_t begin, std::size_t count, std::size_t kept) {
            if (!unpack_indices(from, count, {indices, kept})) {
                valid = false;
                return;
            }
            const std::byte* const codes = from + index_bytes(kept);
            for (std::size_t i = 0; i < kept; ++i) {
                const auto code = std::to_integer<unsigned>(codes[i / 4] >> (i % 4 * 2)) & 3U;
                out[begin + indices[i]] = values[code];
            }
            from += chunk_bytes(count);
        });
        return valid;
    }

    void poison(std::byte* out, std::size_t count) const override {
        std::fill_n(out, group_bytes(count), std::byte{0xFF});
    }

  private:
    static double magnitude(float value) { return std::abs(static_cast<double>(value)); }
    [[nodiscard]] std::size_t chunk_bytes(std::size_t count) const {
        const std::size_t kept = kept_of(count, density_);
        return index_bytes(kept) + (kept + 3) / 4;
    }
    template <typename Task>
    void for_chunks(std::size_t count, const Task& task) const {
        for (std::size_t begin = 0; begin < count; begin += kChunk) {
            const std::size_t size = std::min(kChunk, count - begin);
            task(begin / kChunk, begin, size, kept_of(size, density_));
        }
    }

    double density_;
};

}  // namespace

std::unique_ptr<Codec> make_topk_codec(const CodecOptions& options) {
    return std::make_unique<TopK>(options);
}

}  // namespace Atoll::gossip

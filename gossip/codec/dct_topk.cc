// The largest DCT coefficients, as DeMo and DisTrO send them (Peng et al. 2024, arXiv 2411.19870): every 4096
// values are taken as a 64 x 64 tile, row after row, transformed by the orthonormal DCT-II along both sides;
// the 32 coefficients of largest magnitude are sent with 12-bit places in bf16: 0.219 bits a value. The last
// tile is filled up with zeros.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "gossip/codec/group_codec.h"
#include "kernels/cpu/gemm.h"
#include "kernels/sparse/top_k.h"

namespace Atoll::gossip {

namespace {

constexpr std::size_t kSide = 64;
constexpr std::size_t kTile = kSide * kSide;
constexpr double kDensity = 32.0 / 4096;

using Tile = std::array<float, kTile>;

// Row f is the f-th cosine: c_f cos(pi (2 i + 1) f / 128).
Tile cosines() {
    Tile rows{};
    const auto side = static_cast<double>(kSide);
    for (std::size_t f = 0; f < kSide; ++f) {
        const double norm = std::sqrt((f == 0 ? 1 : 2) / side);
        for (std::size_t i = 0; i < kSide; ++i) {
            const double angle = std::numbers::pi * static_cast<double>((2 * i + 1) * f) / (2 * side);
            rows[f * kSide + i] = static_cast<float>(norm * std::cos(angle));
        }
    }
    return rows;
}

class DctTopK final : public GroupCodec {
  public:
    explicit DctTopK(const CodecOptions& options)
        : GroupCodec({.name = "dct_topk", .wire_id = 10, .group = kTile}, options.threads),
          kept_(kept_of(kTile, options.density > 0 ? options.density : kDensity)),
          cosines_(cosines()) {}

  protected:
    [[nodiscard]] std::size_t group_bytes(std::size_t) const override {
        return index_bytes(kept_) + 2 * kept_;
    }

    void encode_group(std::span<const float> x, std::uint64_t, std::byte* out) const override {
        alignas(64) Tile tile{};
        std::ranges::copy(x, tile.begin());
        transform(tile, true);
        // A coefficient of values near the end of the fp32 range may have overflowed.
        for (float& value : tile) value = std::isfinite(value) ? value : 0;
        std::vector<std::uint16_t> places(kept_);
        kernels::top_k(tile.data(), kTile, kept_, places.data());
        pack_indices(places, out);
        std::byte* to = out + index_bytes(kept_);
        for (const std::uint16_t place : places) {
            const std::uint16_t bits = to_bf16(tile[place]);
            std::memcpy(to, &bits, sizeof bits);
            to += sizeof bits;
        }
    }

    [[nodiscard]] bool decode_group(const std::byte* in, std::uint64_t, std::span<float> out) const override {
        alignas(64) Tile tile{};
        std::vector<std::uint16_t> places(kept_);
        if (!unpack_indices(in, kTile, places)) return false;
        const std::byte* from = in + index_bytes(kept_);
        for (const std::uint16_t place : places) {
            std::uint16_t bits = 0;
            std::memcpy(&bits, from, sizeof bits);
            if ((bits & 0x7F80U) == 0x7F80U) return false;
            tile[place] = from_bf16(bits);
            from += sizeof bits;
        }
        transform(tile, false);
        std::copy_n(tile.begin(), out.size(), out.begin());
        return std::ranges::all_of(out, [](float value) { return std::isfinite(value); });
    }

    void poison(std::byte* out, std::size_t count) const override {
        std::fill_n(out, group_bytes(count), std::byte{0xFF});
    }

  private:
    // tile = D tile D^T, or back.
    void transform(Tile& tile, bool forward) const {
        constexpr auto kLength = static_cast<kernels::Index>(kSide);
        thread_local std::vector<float> memory;
        const std::size_t scratch = kernels::cpu::gemm_scratch(kLength, kLength, kLength);
        memory.resize(scratch + kTile + 32);
        auto* const aligned =
            reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(memory.data()) + 63) / 64 * 64);
        float* const half = aligned + (scratch + 15) / 16 * 16;
        const kernels::Index row = forward ? kLength : 1, column = forward ? 1 : kLength;
        kernels::cpu::gemm({.a = cosines_.data(),
                            .a_row = row,
                            .a_column = column,
                            .b = tile.data(),
                            .b_row = kLength,
                            .b_column = 1,
                            .c = half,
                            .c_row = kLength,
                            .m = kLength,
                            .n = kLength,
                            .k = kLength},
                           aligned);
        kernels::cpu::gemm({.a = half,
                            .a_row = kLength,
                            .a_column = 1,
                            .b = cosines_.data(),
                            .b_row = column,
                            .b_column = row,
                            .c = tile.data(),
                            .c_row = kLength,
                            .m = kLength,
                            .n = kLength,
                            .k = kLength},
                           aligned);
    }

    std::size_t kept_;
    Tile cosines_;
};

}  // namespace

std::unique_ptr<Codec> make_dct_topk_codec(const CodecOptions& options) {
    return std::make_unique<DctTopK>(options);
}

}  // namespace Atoll::gossip

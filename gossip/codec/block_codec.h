// A codec of integer codes that share a scale in blocks of 256 values: the scales first, then the codes.
#pragma once

#include <string>

#include "base/check.h"
#include "gossip/codec/entries.h"
#include "kernels/quantize/quantize.h"

namespace Atoll::gossip {

struct BlockFormat {
    std::string_view name;
    std::uint8_t wire_id;
    std::size_t bits;         // of a code
    std::uint16_t scale_max;  // bf16
    void (*quantize)(const kernels::QuantizeInput&, std::byte* scales, std::byte* codes);
    void (*dequantize)(const std::byte* scales, const std::byte* codes, const kernels::DequantizeOutput&);
    // Whether all codes mean something; nullptr: every pattern does.
    bool (*codes_valid)(const std::byte* codes, std::size_t count) = nullptr;
};

class BlockCodec : public Codec {
  public:
    BlockCodec(const BlockFormat& format, const CodecOptions& options)
        : format_(format), stochastic_(options.stochastic), threads_(options.threads) {}

    [[nodiscard]] std::string_view name() const override { return format_.name; }
    [[nodiscard]] std::uint8_t wire_id() const override { return format_.wire_id; }
    [[nodiscard]] std::size_t encoded_bytes(std::size_t count) const override {
        return scales_bytes(count) + (count * format_.bits + 7) / 8;
    }
    [[nodiscard]] bool lossless() const override { return false; }

    std::size_t encode(std::span<const float> values, std::span<float> residual, std::span<std::byte> out,
                       std::span<float> decoded, const CodecSeed& seed) const override {
        ATOLL_CHECK(out.size() >= encoded_bytes(values.size()));
        ATOLL_CHECK(residual.empty() || residual.size() == values.size());
        ATOLL_CHECK(decoded.empty() || decoded.size() == values.size());
        std::byte* codes = out.data() + scales_bytes(values.size());
        threads_.run(values.size(), [&](std::size_t begin, std::size_t end) {
            format_.quantize({.values = values.data() + begin,
                              .residual = residual.empty() ? nullptr : residual.data() + begin,
                              .decoded = decoded.empty() ? nullptr : decoded.data() + begin,
                              .count = end - begin,
                              .stochastic = stochastic_,
                              .noise = seed.own,
                              .first = begin},
                             out.data() + scales_bytes(begin), codes + begin * format_.bits / 8);
        });
        return encoded_bytes(values.size());
    }

    [[nodiscard]] Status decode(ByteView bytes, std::span<float> out, float scale,
                                bool accumulate) const override {
        if (bytes.size() != encoded_bytes(out.size())) {
            return wrong_length(name(), bytes.size(), out.size(), encoded_bytes(out.size()));
        }
        if (!kernels::all_scales_valid(bytes.data(), scales_bytes(out.size()) / 2, format_.scale_max)) {
            return Error{ErrorCode::corrupt, "a scale in codec " + std::string(name()) +
                                                 " is negative, not finite or out of range"};
        }
        const std::byte* codes = bytes.data() + scales_bytes(out.size());
        if (format_.codes_valid != nullptr && !format_.codes_valid(codes, out.size())) {
            return Error{ErrorCode::corrupt, "a code in codec " + std::string(name()) + " has no meaning"};
        }
        threads_.run(out.size(), [&](std::size_t begin, std::size_t end) {
            format_.dequantize(
                bytes.data() + scales_bytes(begin), codes + begin * format_.bits / 8,
                {.out = out.data() + begin, .count = end - begin, .scale = scale, .accumulate = accumulate});
        });
        return {};
    }

  private:
    static std::size_t scales_bytes(std::size_t count) {
        return (count + kernels::kQuantizeBlock - 1) / kernels::kQuantizeBlock * 2;
    }

    BlockFormat format_;
    bool stochastic_;
    CodecThreads threads_;
};

}  // namespace Atoll::gossip

// A codec whose values are encoded one by one, at a fixed width: fp32 and bf16.
#pragma once

#include <atomic>
#include <string>

#include "base/check.h"
#include "gossip/codec/entries.h"
#include "kernels/quantize/quantize.h"

namespace Atoll::gossip {

struct PlainFormat {
    std::string_view name;
    std::uint8_t wire_id;
    std::size_t value_bytes;
    bool lossless;
    void (*quantize)(const kernels::QuantizeInput&, std::byte* out);
    void (*dequantize)(const std::byte* in, const kernels::DequantizeOutput&);
    bool (*all_finite)(const std::byte* in, std::size_t count);
};

class PlainCodec : public Codec {
  public:
    PlainCodec(const PlainFormat& format, int threads) : format_(format), threads_(threads) {}

    [[nodiscard]] std::string_view name() const override { return format_.name; }
    [[nodiscard]] std::uint8_t wire_id() const override { return format_.wire_id; }
    [[nodiscard]] std::size_t encoded_bytes(std::size_t count) const override {
        return count * format_.value_bytes;
    }
    [[nodiscard]] bool lossless() const override { return format_.lossless; }

    std::size_t encode(std::span<const float> values, std::span<float> residual, std::span<std::byte> out,
                       std::span<float> decoded, const CodecSeed&) const override {
        ATOLL_CHECK(out.size() >= encoded_bytes(values.size()));
        ATOLL_CHECK(residual.empty() || residual.size() == values.size());
        ATOLL_CHECK(decoded.empty() || decoded.size() == values.size());
        threads_.run(values.size(), [&](std::size_t begin, std::size_t end) {
            format_.quantize({.values = values.data() + begin,
                              .residual = residual.empty() ? nullptr : residual.data() + begin,
                              .decoded = decoded.empty() ? nullptr : decoded.data() + begin,
                              .count = end - begin},
                             out.data() + begin * format_.value_bytes);
        });
        return encoded_bytes(values.size());
    }

    [[nodiscard]] Status decode(ByteView bytes, std::span<float> out, float scale,
                                bool accumulate) const override {
        if (bytes.size() != encoded_bytes(out.size())) {
            return wrong_length(name(), bytes.size(), out.size(), encoded_bytes(out.size()));
        }
        // Everything is checked before anything is written.
        std::atomic<bool> finite = true;
        threads_.run(out.size(), [&](std::size_t begin, std::size_t end) {
            if (!format_.all_finite(bytes.data() + begin * format_.value_bytes, end - begin)) finite = false;
        });
        if (!finite)
            return Error{ErrorCode::corrupt, "a value in codec " + std::string(name()) + " is not finite"};
        threads_.run(out.size(), [&](std::size_t begin, std::size_t end) {
            format_.dequantize(
                bytes.data() + begin * format_.value_bytes,
                {.out = out.data() + begin, .count = end - begin, .scale = scale, .accumulate = accumulate});
        });
        return {};
    }

  private:
    PlainFormat format_;
    CodecThreads threads_;
};

}  // namespace Atoll::gossip

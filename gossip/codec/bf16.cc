// The upper half of fp32, rounded to nearest even.
#include "gossip/codec/plain_codec.h"

namespace Atoll::gossip {

std::unique_ptr<Codec> make_bf16_codec(const CodecOptions& options) {
    return std::make_unique<PlainCodec>(PlainFormat{.name = "bf16",
                                                    .wire_id = 1,
                                                    .value_bytes = 2,
                                                    .lossless = false,
                                                    .quantize = kernels::quantize_bf16,
                                                    .dequantize = kernels::dequantize_bf16,
                                                    .all_finite = kernels::all_finite_bf16},
                                        options.threads);
}

}  // namespace Atoll::gossip

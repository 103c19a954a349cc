// fp32 as it is.
#include "gossip/codec/plain_codec.h"

namespace Atoll::gossip {

std::unique_ptr<Codec> make_none_codec(const CodecOptions& options) {
    return std::make_unique<PlainCodec>(PlainFormat{.name = "none",
                                                    .wire_id = 0,
                                                    .value_bytes = 4,
                                                    .lossless = true,
                                                    .quantize = kernels::quantize_fp32,
                                                    .dequantize = kernels::dequantize_fp32,
                                                    .all_finite = kernels::all_finite_fp32},
                                        options.threads);
}

}  // namespace Atoll::gossip

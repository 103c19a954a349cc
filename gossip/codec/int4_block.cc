// 4.06 bits a value: round(x / scale) in -7..7, two to a byte.
#include "gossip/codec/block_codec.h"

namespace Atoll::gossip {

std::unique_ptr<Codec> make_int4_block_codec(const CodecOptions& options) {
    return std::make_unique<BlockCodec>(BlockFormat{.name = "int4_block",
                                                    .wire_id = 3,
                                                    .bits = 4,
                                                    .scale_max = kernels::kScaleMaxInt4,
                                                    .quantize = kernels::quantize_int4,
                                                    .dequantize = kernels::dequantize_int4},
                                        options);
}

}  // namespace Atoll::gossip

// 8.06 bits a value: round(x / scale) in -127..127.
#include "gossip/codec/block_codec.h"

namespace Atoll::gossip {

std::unique_ptr<Codec> make_int8_block_codec(const CodecOptions& options) {
    return std::make_unique<BlockCodec>(BlockFormat{.name = "int8_block",
                                                    .wire_id = 2,
                                                    .bits = 8,
                                                    .scale_max = kernels::kScaleMaxInt8,
                                                    .quantize = kernels::quantize_int8,
                                                    .dequantize = kernels::dequantize_int8},
                                        options);
}

}  // namespace Atoll::gossip

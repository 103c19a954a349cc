// 4.06 bits a value: a sign and three bits of exponent (Streaming DiLoCo, Douillard et al. 2025).
#include "gossip/codec/block_codec.h"

namespace Atoll::gossip {

std::unique_ptr<Codec> make_e3m0_codec(const CodecOptions& options) {
    return std::make_unique<BlockCodec>(BlockFormat{.name = "e3m0",
                                                    .wire_id = 5,
                                                    .bits = 4,
                                                    .scale_max = kernels::kScaleMaxUnit,
                                                    .quantize = kernels::quantize_e3m0,
                                                    .dequantize = kernels::dequantize_e3m0},
                                        options);
}

}  // namespace Atoll::gossip

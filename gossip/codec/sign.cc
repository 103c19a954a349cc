// 1.06 bits a value: the sign, times the mean magnitude of the block (Karimireddy et al. 2019).
#include "gossip/codec/block_codec.h"

namespace Atoll::gossip {

std::unique_ptr<Codec> make_sign_codec(const CodecOptions& options) {
    return std::make_unique<BlockCodec>(BlockFormat{.name = "sign",
                                                    .wire_id = 6,
                                                    .bits = 1,
                                                    .scale_max = kernels::kScaleMaxUnit,
                                                    .quantize = kernels::quantize_sign,
                                                    .dequantize = kernels::dequantize_sign},
                                        options);
}

}  // namespace Atoll::gossip

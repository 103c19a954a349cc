// 2.06 bits a value: -1, 0 or 1 times a scale (Li and Liu 2016; TernGrad, Wen et al. 2017, at random).
#include "gossip/codec/block_codec.h"

namespace Atoll::gossip {

std::unique_ptr<Codec> make_ternary_codec(const CodecOptions& options) {
    return std::make_unique<BlockCodec>(BlockFormat{.name = "ternary",
                                                    .wire_id = 7,
                                                    .bits = 2,
                                                    .scale_max = kernels::kScaleMaxUnit,
                                                    .quantize = kernels::quantize_ternary,
                                                    .dequantize = kernels::dequantize_ternary,
                                                    .codes_valid = kernels::all_valid_ternary},
                                        options);
}

}  // namespace Atoll::gossip

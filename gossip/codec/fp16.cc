// 16.06 bits a value: fp16 with a power-of-two scale a block, so that small pseudo-gradients keep 11 bits.
#include "gossip/codec/block_codec.h"

namespace Atoll::gossip {

std::unique_ptr<Codec> make_fp16_codec(const CodecOptions& options) {
    return std::make_unique<BlockCodec>(BlockFormat{.name = "fp16",
                                                    .wire_id = 4,
                                                    .bits = 16,
                                                    .scale_max = kernels::kScaleMaxFp16,
                                                    .quantize = kernels::quantize_fp16,
                                                    .dequantize = kernels::dequantize_fp16,
                                                    .codes_valid = kernels::all_finite_fp16},
                                        options);
}

}  // namespace Atoll::gossip

#include <algorithm>
#include <array>

#include "gossip/codec/entries.h"
#include "gossip/names.h"

namespace Atoll::gossip {

namespace {

constexpr std::string_view kErrorFeedback = "Seide et al. 2014 (error feedback)";

// Wire ids are part of the protocol: never changed, never given to another codec.
// A scale is rounded up to bf16, by at most 2^-7: half of a step is at most 0.504 / levels.
constexpr std::array kCodecs = {
    CodecEntry{"none", 0, "fp32 as it is", "", 32, 0, false, true, make_none_codec},
    CodecEntry{"bf16", 1, "rounded to bf16", kErrorFeedback, 16, 1.0 / 256, false, false, make_bf16_codec},
    CodecEntry{"int8_block", 2, "8-bit integers, a bf16 scale for every 256", "QSGD, Alistarh et al. 2017",
               8.0625, 0.504 / 127, false, true, make_int8_block_codec},
    CodecEntry{"int4_block", 3, "4-bit integers, a bf16 scale for every 256", "QSGD, Alistarh et al. 2017",
               4.0625, 0.504 / 7, false, true, make_int4_block_codec},
    CodecEntry{"fp16", 4, "fp16 with a power-of-two scale for every 256", kErrorFeedback, 16.0625, 1.0 / 2048,
               false, false, make_fp16_codec},
    CodecEntry{"e3m0", 5, "a sign and 3 bits of exponent, a scale for every 256",
               "Streaming DiLoCo, Douillard et al. 2025, arXiv 2501.18512", 4.0625, 1.0 / 3, false, true,
               make_e3m0_codec},
    CodecEntry{"sign", 6, "1 bit, the mean magnitude of every 256",
               "Karimireddy et al. 2019, arXiv 1901.09847", 1.0625, 1, false, true, make_sign_codec},
    CodecEntry{"ternary", 7, "-1, 0 or 1 times a scale for every 256",
               "TernGrad, Wen et al. 2017, arXiv 1705.07878", 2.0625, 1, false, true, make_ternary_codec},
    CodecEntry{"topk", 8, "the largest 64 of 4096, 12-bit places, 2-bit values",
               "SparseLoCo, arXiv 2508.15706", 0.2207, 1, true, false, make_topk_codec},
    CodecEntry{"random_k", 9, "64 of 4096 at places from a shared seed",
               "Stich et al. 2018, arXiv 1809.07599", 0.5, 1, true, true, make_random_k_codec},
    CodecEntry{"dct_topk", 10, "the largest 32 of 4096 DCT coefficients",
               "DeMo, Peng et al. 2024, arXiv 2411.19870", 0.21875, 2, true, false, make_dct_topk_codec},
    CodecEntry{"low_rank", 11, "matrices as a product of two thin ones",
               "PowerSGD, Vogels et al. 2019, arXiv 1905.13727", 1, 2, true, false, make_low_rank_codec},
    CodecEntry{"seeds", 12, "16 projections of 4096 onto directions from a shared seed",
               "MeZO, Malladi et al. 2023, arXiv 2305.17333", 0.125, 2, true, true, make_seeds_codec},
};

}  // namespace

std::span<const CodecEntry> codecs() { return kCodecs; }

Result<std::unique_ptr<Codec>> make_codec(std::string_view name, const CodecOptions& options) {
    const auto* it = std::ranges::find(kCodecs, name, &CodecEntry::name);
    if (it == kCodecs.end()) return unknown_name("codec", name, codecs());
    return it->make(options);
}

const CodecEntry* find_codec(std::uint8_t wire_id) {
    const auto* it = std::ranges::find(kCodecs, wire_id, &CodecEntry::wire_id);
    return it == kCodecs.end() ? nullptr : it;
}

}  // namespace Atoll::gossip

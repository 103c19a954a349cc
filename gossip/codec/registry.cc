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
    CodecEntry{"none", 0, "fp32 as it is, 32 bits a value", "", 0, make_none_codec},
    CodecEntry{"bf16", 1, "rounded to bf16, 16 bits a value", kErrorFeedback, 1.0 / 256, make_bf16_codec},
    CodecEntry{"int8_block", 2, "8-bit integers, a bf16 scale for every 256: 8.06 bits a value",
               kErrorFeedback, 0.504 / 127, make_int8_block_codec},
    CodecEntry{"int4_block", 3, "4-bit integers, a bf16 scale for every 256: 4.06 bits a value",
               kErrorFeedback, 0.504 / 7, make_int4_block_codec},
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

// The seeds of codecs in one exchange, as every averaging derives them.
#pragma once

#include <cstdint>

#include "gossip/codec/codec.h"
#include "gossip/peer_id.h"

namespace Atoll::gossip {

// `run_seed` is the run's; `part` the index of the vector among those averaged together. `shared` is the same
// at every member, `own` differs from member to member.
[[nodiscard]] CodecSeed codec_seed(std::uint64_t run_seed, const PeerId& self, std::uint64_t round,
                                   std::uint32_t stage, std::size_t part);

}  // namespace Atoll::gossip

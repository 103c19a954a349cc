// The state server: an activity that hands the state this node last published to peers who ask, in chunks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gossip/host.h"

namespace Atoll::federation {

// Chunks are small enough that heartbeats and shares get through between them.
inline constexpr std::uint32_t kStateChunkBytes = 1U << 20U;

struct StateServerLimits {
    std::size_t downloads_max = 4;  // peers served at a time; others are told to come back
    double idle_seconds = 10;       // a download that asked for nothing so long is over
};

// Runs until the host stops. Keeps the newest state, and an older one as long as somebody is downloading it
// or has just been told of it.
void serve_state(gossip::Host& host, const StateServerLimits& limits = {});

}  // namespace Atoll::federation

// Fetching the shared state from a peer: verified chunk by chunk, and continued with another peer if one
// fails.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "gossip/host.h"

namespace Atoll::federation {

struct StateFetchOptions {
    std::uint64_t bytes = 0;                      // what a state must have (shared_state_bytes())
    std::uint64_t newer_than = 0;                 // a state of this round or an older one is not wanted
    std::uint64_t round_max = ~std::uint64_t{0};  // nor one that the run cannot have
    std::size_t asked_at_once = 3;                // peers asked at a time which state they have
    std::size_t peers_max = 8;                    // peers tried altogether
    std::size_t window = 4;                       // chunks on the way at a time
    double answer_seconds = 3;  // a peer that does not say what it has; a chunk is asked for again
    double stall_seconds = 10;  // so is one from which no chunk came so long
    std::uint64_t seed = 0;     // order in which peers are asked
};

struct FetchedState {
    std::uint64_t round = 0;
    Bytes bytes;
    gossip::PeerId donor;  // of the last chunk
};

// Asks `peers` in random order; nothing if nobody who answered has a newer state. Errors: not_found if nobody
// answered (and there was somebody to ask), unavailable if there is a newer state that could not be had (with
// the reasons), interrupted when the host stops. Receives on Topic::transfer: one fetch at a time on a host.
[[nodiscard]] Result<std::optional<FetchedState>> fetch_state(gossip::Host& host,
                                                              std::vector<gossip::PeerId> peers,
                                                              const StateFetchOptions& options);

}  // namespace Atoll::federation

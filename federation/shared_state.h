// The shared state as bytes: what a joiner fetches from a peer.
//
//   offset  bytes
//   0       8     "ATOLLST1"
//   8       8     round (outer steps done)
//   16      4     number of vectors, in the order of Algorithm::state()
//   20      44    zero
//   64      4n    the values of each vector, fp32, one vector after the other
//
// All little-endian. The names and lengths of the vectors follow from the run configuration, which both sides
// have (its hash is the run id), so the length of the whole is known before a byte arrives.
#pragma once

#include "base/bytes.h"
#include "federation/algorithm/algorithm.h"

namespace Atoll::federation {

[[nodiscard]] std::uint64_t shared_state_bytes(Algorithm& algorithm);
// A copy of the shared vectors as they are now.
[[nodiscard]] SharedBytes encode_shared_state(Algorithm& algorithm);
// Replaces the shared vectors and the round, then aligns the worker. Errors (corrupt): wrong length, header
// or round, a value that is not finite; then nothing has changed.
[[nodiscard]] Status adopt_shared_state(ByteView bytes, std::uint64_t round, Algorithm& algorithm,
                                        Worker& worker);

// Hands a copy of the state to this node's state server.
void publish_state(gossip::Host& host, Algorithm& algorithm);

}  // namespace Atoll::federation

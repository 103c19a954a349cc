// How much of the vector each member of an all-reduce should own (docs/reference/averaging.md has the
// derivation).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gossip/peer_id.h"

namespace Atoll::gossip {

// Shares in units of 1 / `units`, adding up to it, that minimise the time of the slowest member: a member
// with share f sends and receives 1 + (n - 2) f vectors. Zero for members below what is worth it. Members
// whose bandwidth is not known (0) count as the median of the others. Precondition: not empty.
[[nodiscard]] std::vector<std::uint32_t> reduce_shares(std::span<const double> bandwidths,
                                                       std::uint32_t units);

// The owner of each of `shards` shards, as an index into `owners`. Each takes shards / n of them (rounded up,
// at most) by highest random weight (Thaler and Ravishankar 1998): a function of the owners alone, which
// changes little when one comes or goes. Precondition: not empty.
[[nodiscard]] std::vector<std::size_t> deal_shards(std::span<const PeerId> owners, std::size_t shards);

}  // namespace Atoll::gossip

// How fast news travels over a schedule.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gossip/topology/topology.h"

namespace Atoll::gossip {

// Gossip rounds from `first` on, rounds() of them at least, after which what any member knew has come to
// every other, if each passes on what it has heard; n periods at most. 1 if there is nobody to hear from.
[[nodiscard]] std::size_t stages_until_all_heard(const Topology& topology, const Roster& roster,
                                                 std::uint64_t first);

}  // namespace Atoll::gossip

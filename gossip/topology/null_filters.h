// The rounds of a null-cascade graph: circulant filters that between them have a zero at every frequency
// f = 1..n-1 (Niwa et al. 2025, algorithms 1 to 4).
#pragma once

#include "gossip/topology/circulant.h"

namespace Atoll::gossip {

// One round of the cascade, in one or more shapes: all remove the same frequencies of those that the rounds
// before it leave, and differ in what they do to the others. The first is the paper's.
using RoundShapes = std::vector<CirculantRound>;

// The rounds in the paper's order: for each prime factor up to k+1 a moving average, for each larger one, p,
// filters that null the p-1 frequencies left in conjugate pairs, floor(k/2) pairs a round (fewer where no
// such filter has only positive weights). Preconditions: n >= 2, k >= 2.
[[nodiscard]] std::vector<RoundShapes> null_filters(std::size_t n, std::size_t k);

}  // namespace Atoll::gossip

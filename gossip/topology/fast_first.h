// The order of commuting rounds in which disagreement shrinks fastest: the product of all is the same, the
// way there is not.
#pragma once

#include "gossip/topology/null_filters.h"

namespace Atoll::gossip {

// Each time the round, in the shape, that leaves the least sum over f > 0 of the product of |H(f)|^2. Equal
// ones, up to 1e-9 of it, go by place in the list: rounding does not decide, so everybody finds the same.
[[nodiscard]] CirculantSchedule fast_first(std::size_t n, std::vector<RoundShapes> rounds);

}  // namespace Atoll::gossip

// Going on from a peer's state when the run is ahead of this member.
#pragma once

#include "federation/algorithm/algorithm.h"

namespace Atoll::federation {

enum class CatchUp {
    // On arrival, or back after a crash: several peers are asked, and it is an error if there is a newer
    // state that cannot
    // be had.
    on_arrival,
    // A round in which not every expected share came: perhaps the others are ahead. One peer is asked;
    // failing that, the
    // member goes on alone and will ask again.
    after_incomplete_round,
};

// If a peer has done more outer steps than `algorithm`, its shared state is adopted and published here too.
[[nodiscard]] Status catch_up(Context& context, Algorithm& algorithm, CatchUp occasion);

}  // namespace Atoll::federation

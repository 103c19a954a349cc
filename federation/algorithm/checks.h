// Cross-field checks (AlgorithmEntry::check) that several algorithms share.
#pragma once

#include "federation/run_config.h"

namespace Atoll::federation {

// Errors (invalid): a key of the outer optimizer is set.
[[nodiscard]] Status check_no_outer_step(const RunConfig& config);

// For algorithms whose steps are taken by the owners of shards. Errors (invalid): the averaging scheme has no
// owners; state in few bits, which cannot be cut anywhere; scales of single tensors, which shards do not
// know.
[[nodiscard]] Status check_owners(const RunConfig& config);

}  // namespace Atoll::federation

// The entries of the table in registry.cc.
#pragma once

#include "federation/algorithm/algorithm.h"

namespace Atoll::federation {

[[nodiscard]] std::unique_ptr<Algorithm> make_diloco(const RunConfig& config, std::size_t parameters);

}  // namespace Atoll::federation

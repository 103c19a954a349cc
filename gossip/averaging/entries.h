// The averaging schemes' makers, for the table in registry.cc.
#pragma once

#include <memory>

#include "gossip/averaging/averaging.h"

namespace Atoll::gossip {

[[nodiscard]] std::unique_ptr<Averaging> make_push_sum(const AveragingContext& context);
[[nodiscard]] std::unique_ptr<Averaging> make_all_reduce(const AveragingContext& context);

}  // namespace Atoll::gossip

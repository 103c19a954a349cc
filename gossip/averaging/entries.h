// The averaging schemes' makers, for the table in registry.cc.
#pragma once

#include <memory>

#include "gossip/averaging/averaging.h"

namespace Atoll::gossip {

[[nodiscard]] std::unique_ptr<Averaging> make_push_sum(const AveragingContext& context);
[[nodiscard]] std::unique_ptr<Averaging> make_all_reduce(const AveragingContext& context);
[[nodiscard]] std::unique_ptr<Averaging> make_trimmed_mean(const AveragingContext& context);
[[nodiscard]] std::unique_ptr<Averaging> make_centered_clip(const AveragingContext& context);
[[nodiscard]] std::unique_ptr<Averaging> make_geometric_median(const AveragingContext& context);
[[nodiscard]] std::unique_ptr<Averaging> make_star(const AveragingContext& context);

}  // namespace Atoll::gossip

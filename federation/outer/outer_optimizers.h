// The entries of the table in registry.cc.
#pragma once

#include "federation/outer/outer.h"

namespace Atoll::federation {

[[nodiscard]] std::unique_ptr<OuterOptimizer> make_outer_sgd(const OuterOptions& options,
                                                             std::size_t parameters);
[[nodiscard]] std::unique_ptr<OuterOptimizer> make_outer_nesterov(const OuterOptions& options,
                                                                  std::size_t parameters);
[[nodiscard]] std::unique_ptr<OuterOptimizer> make_outer_heavy_ball(const OuterOptions& options,
                                                                    std::size_t parameters);
[[nodiscard]] std::unique_ptr<OuterOptimizer> make_outer_adam(const OuterOptions& options,
                                                              std::size_t parameters);

}  // namespace Atoll::federation

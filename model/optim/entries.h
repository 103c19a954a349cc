// The entries of the table in registry.cc.
#pragma once

#include "model/optim/optimizer.h"

namespace Atoll::model {

[[nodiscard]] std::unique_ptr<Optimizer> make_adamw(kernels::Ops& ops, const kernels::Layout& layout,
                                                    const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_sgd(kernels::Ops& ops, const kernels::Layout& layout,
                                                  const OptimizerOptions& options);

}  // namespace Atoll::model

// Whether an optimizer's settings can be, before anything is built from them.
#pragma once

#include <string_view>

#include "base/result.h"
#include "model/config.h"
#include "model/optim/optimizer.h"

namespace Atoll::model {

// Errors (invalid): unknown optimizer, or keys that do not go together (names them, their values and what was
// expected). Precondition: validate(model) is ok.
[[nodiscard]] Status validate_optimizer(std::string_view name, const OptimizerOptions& options,
                                        const ModelConfig& model);

}  // namespace Atoll::model

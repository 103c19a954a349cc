#include "model/optim/validate.h"

#include <fmt/core.h>

#include <string>

namespace Atoll::model {

namespace {

std::string optimizers_with_scales() {
    std::string list;
    for (const OptimizerEntry& entry : optimizers()) {
        if (entry.scales) list += (list.empty() ? "" : ", ") + std::string(entry.name);
    }
    return list;
}

}  // namespace

Status validate_optimizer(std::string_view name, const OptimizerOptions& /*options*/,
                          const ModelConfig& model) {
    ATOLL_ASSIGN(const OptimizerEntry* entry, find_optimizer(name));
    if (model.parameterization != "standard" && !entry->scales) {
        return Error{ErrorCode::invalid,
                     fmt::format("model.parameterization = {} has no rules for optimizer.name = {}: expected "
                                 "one of {}, or model.parameterization = standard",
                                 model.parameterization, name, optimizers_with_scales())};
    }
    return {};
}

}  // namespace Atoll::model

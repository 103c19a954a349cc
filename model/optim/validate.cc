#include "model/optim/validate.h"

#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <utility>

namespace Atoll::model {

namespace {

std::string optimizers_that(bool OptimizerEntry::*can) {
    std::string list;
    for (const OptimizerEntry& entry : optimizers()) {
        if (entry.*can) list += (list.empty() ? "" : ", ") + std::string(entry.name);
    }
    return list;
}

Status validate_decays(const OptimizerOptions& options) {
    // Written so that NaN fails. A decay of 1 never takes in a gradient, and its bias correction is 0 / 0.
    using Decay = std::pair<const char*, double>;
    for (const auto& [key, value] : {Decay{"beta1", options.beta1}, Decay{"beta2", options.beta2},
                                     Decay{"beta3", options.beta3}, Decay{"momentum", options.momentum}}) {
        if (value >= 0 && value < 1) continue;
        return Error{ErrorCode::invalid,
                     fmt::format("optimizer.{} = {}: expected 0 at least, less than 1", key, value)};
    }
    return {};
}

// A longer side keeps no eigenbasis; if all are longer, SOAP is Adam at a higher price.
Status validate_soap(const OptimizerOptions& options, const ModelConfig& model) {
    if (std::min({model.width, model.inner, model.kv_heads * model.head_dim}) <=
        options.precondition_side_max)
        return {};
    return Error{
        ErrorCode::invalid,
        fmt::format("optimizer.name = soap with optimizer.precondition_side_max = {}: no matrix of the "
                    "model has so short a side (model.width = {}, model.inner = {}); expected {} at least, "
                    "or optimizer.name = adamw",
                    options.precondition_side_max, model.width, model.inner,
                    std::min(model.width, model.inner))};
}

}  // namespace

Status validate_optimizer(std::string_view name, const OptimizerOptions& options, const ModelConfig& model) {
    ATOLL_ASSIGN(const OptimizerEntry* entry, find_optimizer(name));
    if (model.parameterization != "standard" && !entry->scales) {
        return Error{ErrorCode::invalid,
                     fmt::format("model.parameterization = {} has no rules for optimizer.name = {}: expected "
                                 "one of {}, or model.parameterization = standard",
                                 model.parameterization, name, optimizers_that(&OptimizerEntry::scales))};
    }
    if (options.state != StateFormat::fp32 && !entry->packs) {
        return Error{
            ErrorCode::invalid,
            fmt::format("optimizer.state = {} but optimizer.name = {} keeps its state in fp32 only: expected "
                        "one of {}, or optimizer.state = fp32",
                        state_format_name(options.state), name, optimizers_that(&OptimizerEntry::packs))};
    }
    ATOLL_TRY(validate_decays(options));
    return name == "soap" ? validate_soap(options, model) : Status{};
}

}  // namespace Atoll::model

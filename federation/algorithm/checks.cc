#include "federation/algorithm/checks.h"

#include <fmt/core.h>

#include "federation/names.h"
#include "gossip/averaging/averaging.h"

namespace Atoll::federation {

Status check_no_outer_step(const RunConfig& config) {
    const RunConfig::AlgorithmTable defaults;
    const auto& options = config.algorithm;
    if (options.outer_optimizer != defaults.outer_optimizer ||
        options.outer_learning_rate != defaults.outer_learning_rate ||
        options.outer_momentum != defaults.outer_momentum) {
        return Error{ErrorCode::invalid,
                     fmt::format("algorithm.outer_optimizer, algorithm.outer_learning_rate or "
                                 "algorithm.outer_momentum is set but algorithm.name = {} takes no outer "
                                 "step: leave them out, or choose diloco",
                                 options.name)};
    }
    return {};
}

Status check_owners(const RunConfig& config) {
    const auto schemes = gossip::averagings();
    ATOLL_ASSIGN(const gossip::AveragingEntry* scheme,
                 find_entry("averaging.name", config.averaging.name, schemes));
    if (config.optimizer.state != "fp32") {
        return Error{
            ErrorCode::invalid,
            fmt::format("optimizer.state = {} but algorithm.name = {} cuts the optimizer's state into "
                        "shards: expected fp32",
                        config.optimizer.state, config.algorithm.name)};
    }
    if (config.model.parameterization != "standard") {
        return Error{
            ErrorCode::invalid,
            fmt::format("model.parameterization = {} has rates for single tensors, which the shards of "
                        "algorithm.name = {} do not know: expected standard",
                        config.model.parameterization, config.algorithm.name)};
    }
    if (scheme->owners) return {};
    std::string fine;
    for (const auto& entry : schemes) {
        if (entry.owners) fine += fmt::format("{}{}", fine.empty() ? "" : ", ", entry.name);
    }
    return Error{
        ErrorCode::invalid,
        fmt::format("averaging.name = {} does not suit algorithm.name = {}, in which every member owns a "
                    "shard: expected one of {}",
                    config.averaging.name, config.algorithm.name, fine)};
}

}  // namespace Atoll::federation

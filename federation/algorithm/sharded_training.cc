#include "federation/algorithm/sharded_training.h"

#include <fmt/core.h>

#include "federation/algorithm/checks.h"
#include "federation/algorithm/entries.h"
#include "federation/names.h"

namespace Atoll::federation {

Status check_sharded(const RunConfig& config) {
    ATOLL_TRY(check_owners(config));
    ATOLL_ASSIGN(const model::OptimizerEntry* optimizer,
                 find_entry("optimizer.name", config.optimizer.name, model::optimizers()));
    if (!optimizer->elementwise) {
        std::string fine;
        for (const auto& entry : model::optimizers()) {
            if (entry.elementwise) fine += fmt::format("{}{}", fine.empty() ? "" : ", ", entry.name);
        }
        return Error{ErrorCode::invalid,
                     fmt::format("optimizer.name = {} steps whole tensors but algorithm.name = {} shards the "
                                 "optimizer's state: expected one of {}",
                                 config.optimizer.name, config.algorithm.name, fine)};
    }
    return check_no_outer_step(config);
}

}  // namespace Atoll::federation

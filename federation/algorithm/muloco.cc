// MuLoCo (Therien et al. 2025, algorithm 1): DiLoCo whose inner optimizer is Muon. Its orthogonalised steps
// give pseudo-gradients that agree better between members than AdamW's, so the outer step bears a smaller
// momentum (section 5: H = 30, eta = 0.7, mu = 0.6).
#include <fmt/core.h>

#include "federation/algorithm/entries.h"
#include "federation/run_config.h"

namespace Atoll::federation {

void muloco_defaults(RunConfig& config) {
    config.optimizer.name = "muon";
    take_defaults(config.optimizer);
    config.algorithm.inner_steps = 30;
    config.algorithm.outer_optimizer = "nesterov";
    config.algorithm.outer_learning_rate = 0.7;
    config.algorithm.outer_momentum = 0.6;
}

Status check_muloco(const RunConfig& config) {
    if (config.optimizer.name == "muon" || config.optimizer.name == "d_muon") return {};
    return Error{ErrorCode::invalid,
                 fmt::format("algorithm.name = muloco but optimizer.name = {}: expected muon or d_muon (with "
                             "other inner optimizers it is diloco)",
                             config.optimizer.name)};
}

}  // namespace Atoll::federation

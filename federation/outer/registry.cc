#include <array>

#include "federation/names.h"
#include "federation/outer/outer_optimizers.h"

namespace Atoll::federation {

namespace {

constexpr std::array kOuterOptimizers = {
    OuterEntry{"nesterov", "SGD with Nesterov momentum",
               "Douillard et al. 2023, arXiv 2311.08105, algorithm 1", true, make_outer_nesterov},
    OuterEntry{"sgd", "plain SGD; with rate 1 the mean of the replicas (FedAvg)",
               "McMahan et al. 2017, arXiv 1602.05629", false, make_outer_sgd},
    OuterEntry{"heavy_ball", "SGD with Polyak's momentum", "Polyak 1964", true, make_outer_heavy_ball},
    OuterEntry{"adam", "every value at its own rate, by the second moment of its updates",
               "Reddi et al. 2021, arXiv 2003.00295, algorithm 2 (FedAdam)", true, make_outer_adam},
};

}  // namespace

std::span<const OuterEntry> outer_optimizers() { return kOuterOptimizers; }

Result<std::unique_ptr<OuterOptimizer>> make_outer_optimizer(std::string_view name,
                                                             const OuterOptions& options,
                                                             std::size_t parameters) {
    ATOLL_ASSIGN(const OuterEntry* entry, find_entry("algorithm.outer_optimizer", name, outer_optimizers()));
    return entry->make(options, parameters);
}

}  // namespace Atoll::federation

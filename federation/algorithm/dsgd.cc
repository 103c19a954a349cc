// The algorithms whose local steps are the inner optimizer's own (T of them a round), whose state stays at
// home, and that mix nothing but the parameters:
//
//   dsgd                x_i <- x_i - eta g_i
//   dsgdm               m_i <- beta m_i + g_i,   x_i <- x_i - eta m_i
//   decentralized_adam  x_i <- Adam(x_i, g_i)          each followed by   x_i <- sum_j W_ij x_j
#include <fmt/core.h>

#include "federation/algorithm/entries.h"
#include "federation/algorithm/gossip_training.h"

namespace Atoll::federation {

std::unique_ptr<Algorithm> make_local_optimizer_gossip(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<GossipTraining>(config, parameters);
}

Status check_dsgd(const RunConfig& config) { return check_sgd(config, Momentum::none); }

Status check_dsgdm(const RunConfig& config) { return check_sgd(config, Momentum::needed); }

Status check_decentralized_adam(const RunConfig& config) {
    ATOLL_TRY(check_gossip_training(config));
    if (config.optimizer.name != "sgd") return {};
    return Error{
        ErrorCode::invalid,
        fmt::format("algorithm.name = {} but optimizer.name = sgd: expected an adaptive optimizer, as "
                    "adamw (with sgd it is dsgd or dsgdm)",
                    config.algorithm.name)};
}

}  // namespace Atoll::federation

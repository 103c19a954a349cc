// SparseLoCo (Sarfi et al. 2025, arXiv 2508.15706, algorithm 1): DiLoCo without outer momentum, whose
// pseudo-gradients are cut to their largest values at 2 bits; error feedback takes the place of the momentum.
//
//   Delta_r = Theta - theta_r,   a_r = beta e_r + Delta_r
//   Dhat_r  = Q(TopK(a_r)),      e_r = a_r - Dhat_r
//   Theta  <- Theta - alpha / R sum_r Dhat_r
//
// Everybody sends its Dhat_r to everybody (`full`), so all copies of Theta take the same step. The sum is
// divided by R, as the paper writes it, not by the number of members that sent the coordinate.
#include <fmt/core.h>

#include "federation/algorithm/entries.h"
#include "federation/names.h"
#include "federation/run_config.h"

namespace Atoll::federation {

void sparseloco_defaults(RunConfig& config) {
    config.algorithm.inner_steps = 30;
    config.algorithm.outer_optimizer = "sgd";
    config.algorithm.outer_learning_rate = 1;  // alpha
    config.algorithm.outer_momentum = 0;
    config.algorithm.anchor_slices = 0;  // one fp32 slice of 32 would cost five times the payload
    config.topology.name = "full";
    config.codec.name = "topk";
    config.codec.error_feedback = true;
    config.codec.feedback_decay = 0.95;  // beta
}

Status check_sparseloco(const RunConfig& config) {
    const auto& options = config.algorithm;
    ATOLL_ASSIGN(const gossip::CodecEntry* codec,
                 find_entry("codec.name", config.codec.name, gossip::codecs()));
    if (!codec->sparse) {
        return Error{
            ErrorCode::invalid,
            fmt::format("algorithm.name = sparseloco but codec.name = {} sends every value: expected a "
                        "sparse one, as topk (with others it is diloco)",
                        config.codec.name)};
    }
    if (options.outer_optimizer != "sgd") {
        return Error{
            ErrorCode::invalid,
            fmt::format("algorithm.name = sparseloco but algorithm.outer_optimizer = {}: expected sgd; "
                        "error feedback is its momentum (with others it is diloco)",
                        options.outer_optimizer)};
    }
    return {};
}

}  // namespace Atoll::federation

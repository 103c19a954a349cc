// Gradient tracking (Di Lorenzo and Scutari 2016; Nedic, Olshevsky and Shi 2017, "DIGing"): y_i follows the
// mean gradient of all members, so that a constant rate reaches the exact minimum whatever data each holds.
//
//   y_i <- y_i + g_i(x_i now) - g_i(x_i of the step before)          H local steps
//   x_i <- x_i - eta y_i
//   x_i <- sum_j W_ij x_j,     y_i <- sum_j W_ij y_j                 one exchange, two vectors
//
// y and the gradient before start at zero, which makes y_i = g_i at the first step. W being doubly
// stochastic, sum_i y_i = sum_i g_i holds after every step. A joiner starts from zero and keeps it true, and
// so does a member that goes on from the round it left in, with its own y_i and gradient; one that is gone
// for good leaves its last gradient in the sum.
#include <fmt/core.h>

#include <algorithm>

#include "federation/algorithm/entries.h"
#include "federation/algorithm/gossip_training.h"
#include "federation/names.h"

namespace Atoll::federation {

namespace {

class GradientTracking final : public GossipTraining {
  public:
    GradientTracking(const RunConfig& config, std::size_t parameters)
        : GossipTraining(config, parameters, 2),
          step_(config, parameters),
          tracker_(parameters),
          last_gradient_(parameters) {}

    // "tracker" and "last_gradient" (own): a peer's would count its gradient twice.
    std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = GossipTraining::state();
        vectors.push_back({"tracker", tracker_.span(), false});
        vectors.push_back({"last_gradient", last_gradient_.span(), false});
        return vectors;
    }

  private:
    Result<StepResult> local_step(Worker& worker) override {
        ATOLL_ASSIGN(const StepResult result, step_.take_gradient(worker));
        const std::span<const float> g = step_.gradient();
        float* const y = tracker_.data();
        for (std::size_t i = 0; i < g.size(); ++i) y[i] += g[i] - last_gradient_.data()[i];
        std::ranges::copy(g, last_gradient_.span().begin());
        step_.descend(worker, tracker_.span(), result.learning_rate);
        return result;
    }
    std::vector<std::span<float>> companions() override { return {tracker_.span()}; }

    OwnStep step_;
    kernels::FlatBuffer tracker_;  // y
    kernels::FlatBuffer last_gradient_;
};

}  // namespace

std::unique_ptr<Algorithm> make_gradient_tracking(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<GradientTracking>(config, parameters);
}

Status check_gradient_tracking(const RunConfig& config) {
    ATOLL_TRY(check_sgd(config, Momentum::none));
    ATOLL_ASSIGN(const gossip::AveragingEntry* averaging,
                 find_entry("averaging.name", config.averaging.name, gossip::averagings()));
    if (!averaging->robust) return {};
    return Error{ErrorCode::invalid,
                 fmt::format("averaging.name = {} does not conserve the sum of the trackers, on which "
                             "algorithm.name = gradient_tracking rests: expected push_sum or all_reduce",
                             config.averaging.name)};
}

}  // namespace Atoll::federation

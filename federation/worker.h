// Worker: the local replica as an algorithm sees it. The real one (federation/replica_worker.h) trains a
// transformer; tests and simulations use smaller ones.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "kernels/flat.h"
#include "model/objective.h"
#include "model/optim/optimizer.h"

namespace Atoll::federation {

struct StepResult {
    double loss = 0;  // mean over the step's tokens, nats
    std::uint64_t tokens = 0;
    double gradient_norm = 0;  // before clipping; of steps without gradients the size of the slope
    double learning_rate = 0;
};

class Worker : public model::Objective {
  public:
    [[nodiscard]] virtual const kernels::Layout& layout() const = 0;
    // The live parameters. Whoever writes them calls parameters_changed() afterwards.
    [[nodiscard]] virtual std::span<float> parameters() = 0;
    virtual void parameters_changed() = 0;

    // One step of the inner optimizer on the next local batch. Errors: data unreadable, loss not finite.
    [[nodiscard]] virtual Result<StepResult> inner_step() = 0;
    // The gradient of the next local batch, without a step (= into `gradient`, same layout as the
    // parameters).
    [[nodiscard]] virtual Result<StepResult> gradient(std::span<float> gradient) = 0;
    // The loss of a local batch, without a step. Errors besides an inner step's (unavailable): a worker that
    // has none.
    [[nodiscard]] Result<model::BatchLoss> loss(model::Draw draw) override;
    void add_normals(std::span<const kernels::NormalTerm> terms) override;
    // Mean loss on held-out data at the live parameters; NaN if there is none.
    [[nodiscard]] virtual Result<double> validation_loss() = 0;

    // For algorithms that shard the optimizer (federation/algorithm/sharded_optimizer.h): the run's
    // optimizer, for parameters of that layout, a shard of these. Errors (failed): this worker has none to
    // give.
    [[nodiscard]] virtual Result<std::unique_ptr<model::Optimizer>> make_optimizer(const kernels::Layout&) {
        return Error{ErrorCode::failed, "this worker has no optimizer that could be sharded"};
    }
    // With it, of the next step: the rate by the schedule.
    [[nodiscard]] virtual double learning_rate() const { return std::numeric_limits<double>::quiet_NaN(); }
    // The worker's own optimizer is not needed: inner_step() will not be called.
    virtual void release_optimizer() {}

    // Inner steps taken since the run began, over restarts.
    [[nodiscard]] virtual std::uint64_t step() const = 0;
    // Moves to another point of the run without training (a joiner): the learning-rate schedule goes on from
    // there.
    virtual void set_step(std::uint64_t step) = 0;
};

}  // namespace Atoll::federation

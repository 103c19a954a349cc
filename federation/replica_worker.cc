#include "federation/replica_worker.h"

#include <algorithm>

#include "base/check.h"

namespace Atoll::federation {

namespace {

model::StateFormat state_of(const std::string& name) {
    const auto format = model::state_format(name);
    ATOLL_CHECK(format.ok());  // the key allows no other
    return *format;
}

std::optional<model::RateSearchOptions> rate_search(const RunConfig& config) {
    const auto& schedule = config.schedule;
    if (schedule.search == "none") return std::nullopt;
    const std::int64_t steps = schedule_steps(config);
    const auto part = [&](double fraction) {
        return static_cast<std::int64_t>(fraction * static_cast<double>(steps));
    };
    return model::RateSearchOptions{.window = schedule.search_window,
                                    .begin = std::max(part(schedule.search_begin), schedule.warmup_steps),
                                    .end = part(schedule.search_end),
                                    .warmup_steps = schedule.warmup_steps,
                                    .merge_interval = config.algorithm.inner_steps,
                                    .raise = schedule.search_raise,
                                    .lower = schedule.search_lower,
                                    .shrink = schedule.search_shrink};
}

Result<StepResult> step_result(const Result<model::TrainStep>& result) {
    if (!result) return result.error();
    return StepResult{.loss = result->loss,
                      .tokens = result->tokens,
                      .gradient_norm = result->gradient_norm,
                      .learning_rate = result->learning_rate};
}

}  // namespace

model::TrainerOptions trainer_options(const RunConfig& config) {
    const auto& optimizer = config.optimizer;
    return {.model = config.model,
            .seed = static_cast<std::uint64_t>(config.run.seed),
            .optimizer = optimizer.name,
            .optimizer_options = {.beta1 = optimizer.beta1,
                                  .beta2 = optimizer.beta2,
                                  .epsilon = optimizer.epsilon,
                                  .weight_decay = optimizer.weight_decay,
                                  .beta3 = optimizer.beta3,
                                  .alpha = optimizer.alpha,
                                  .horizon_steps = optimizer.horizon_steps > 0 ? optimizer.horizon_steps
                                                                               : schedule_steps(config),
                                  .nesterov = optimizer.nesterov,
                                  .momentum = optimizer.momentum,
                                  .matrix_rate_ratio = optimizer.matrix_rate_ratio,
                                  .variance_reduction = optimizer.variance_reduction,
                                  .rho = optimizer.rho,
                                  .curvature_interval = optimizer.curvature_interval,
                                  .precondition_interval = optimizer.precondition_interval,
                                  .precondition_side_max = optimizer.precondition_side_max,
                                  .state = state_of(optimizer.state),
                                  .perturbation = optimizer.perturbation,
                                  .projection_interval = optimizer.projection_interval,
                                  .projection_iterations = optimizer.projection_iterations,
                                  .projection_rate = optimizer.projection_rate,
                                  .projection_perturbation = optimizer.projection_perturbation,
                                  .projection_limit = optimizer.projection_limit,
                                  .projection_tensors = optimizer.projection_tensors},
            .learning_rate = optimizer.learning_rate,
            .schedule = config.schedule.name,
            .schedule_options = {.steps = schedule_steps(config),
                                 .warmup_steps = config.schedule.warmup_steps,
                                 .final_fraction = config.schedule.final_fraction,
                                 .decay_fraction = config.schedule.decay_fraction},
            .rate_search = rate_search(config),
            .clip_norm = optimizer.clip_norm,
            .batch_sequences = optimizer.batch_sequences,
            .accumulation = optimizer.accumulation,
            .z_loss = optimizer.z_loss,
            .precision = optimizer.precision == "bf16" ? kernels::Precision::bf16 : kernels::Precision::fp32};
}

Result<StepResult> ReplicaWorker::inner_step() { return step_result(trainer_.inner_step()); }

Result<StepResult> ReplicaWorker::gradient(std::span<float> gradient) {
    return step_result(trainer_.gradient(gradient));
}

void ReplicaWorker::set_step(std::uint64_t step) {
    trainer_.seek({.step = step, .data = trainer_.position().data});
}

}  // namespace Atoll::federation

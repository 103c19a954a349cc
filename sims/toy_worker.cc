#include "sims/toy_worker.h"

#include <cmath>

#include "base/rng.h"

namespace Atoll::sims {

ToyWorker::ToyWorker(const Options& options) : options_(options) {
    layout_.add("x", {static_cast<std::int64_t>(options.parameters)});
    parameters_ = kernels::FlatBuffer(layout_.size());
    gradient_ = kernels::FlatBuffer(layout_.size());
    Rng shared = Rng(options.seed).split("toy minimum");
    Rng own = Rng(options.seed).split("toy offset", options.node);
    for (std::size_t j = 0; j < options.parameters; ++j) {
        const double b = shared.normal();
        shared_minimum_.push_back(static_cast<float>(b));
        own_minimum_.push_back(static_cast<float>(b + options.heterogeneity * own.normal()));
    }
}

double ToyWorker::curvature(std::size_t j) const {
    const std::size_t n = options_.parameters;
    return n == 1 ? 1.0 : 0.1 + 0.9 * static_cast<double>(j) / static_cast<double>(n - 1);
}

Result<federation::StepResult> ToyWorker::gradient(std::span<float> gradient) {
    // The noise is a function of (node, step), so that a restarted node draws the same.
    Rng noise = Rng(options_.seed).split("toy noise", options_.node).split("step", step_);
    double loss = 0;
    double squared_norm = 0;
    for (std::size_t j = 0; j < options_.parameters; ++j) {
        const double distance = parameters_.data()[j] - own_minimum_[j];
        const double g = curvature(j) * distance + options_.noise * noise.normal();
        loss += 0.5 * curvature(j) * distance * distance;
        squared_norm += g * g;
        gradient[j] = static_cast<float>(g);
    }
    return federation::StepResult{loss, options_.tokens_per_step, std::sqrt(squared_norm),
                                  options_.learning_rate};
}

Result<federation::StepResult> ToyWorker::inner_step() {
    ATOLL_ASSIGN(const federation::StepResult result, gradient(gradient_.span()));
    const auto rate = static_cast<float>(options_.learning_rate);
    for (std::size_t j = 0; j < options_.parameters; ++j) parameters_.data()[j] -= rate * gradient_.data()[j];
    ++step_;
    return result;
}

Result<model::BatchLoss> ToyWorker::loss(model::Draw /*draw*/) {
    double loss = 0;
    for (std::size_t j = 0; j < options_.parameters; ++j) {
        const double distance = parameters_.data()[j] - own_minimum_[j];
        loss += 0.5 * curvature(j) * distance * distance;
    }
    return model::BatchLoss{loss, options_.tokens_per_step};
}

Result<std::unique_ptr<model::Optimizer>> ToyWorker::make_optimizer(const kernels::Layout& layout) {
    if (!ops_) ops_ = kernels::make_cpu_ops(1);
    return model::make_optimizer(options_.optimizer, *ops_, layout, options_.optimizer_options);
}

Result<double> ToyWorker::validation_loss() {
    double loss = 0;
    for (std::size_t j = 0; j < options_.parameters; ++j) {
        const double distance = parameters_.data()[j] - shared_minimum_[j];
        loss += 0.5 * curvature(j) * distance * distance;
    }
    return loss;
}

}  // namespace Atoll::sims

// A toy worker: gradient descent on 1/2 sum_j c_j (x_j - b_j)^2, optionally with noise that depends on (seed,
// step) only.
#pragma once

#include <vector>

#include "base/rng.h"
#include "federation/worker.h"
#include "kernels/ops.h"

namespace Atoll::federation::testing {

class QuadraticWorker : public Worker {
  public:
    struct Options {
        std::size_t parameters = 64;
        double learning_rate = 0.1;
        double noise = 0;
        std::uint64_t minimum_seed = 1;  // where the minimum is
        std::uint64_t noise_seed = 1;
        std::string optimizer = "sgd";  // of make_optimizer(); inner_step() is plain gradient descent
        model::OptimizerOptions optimizer_options = {.beta1 = 0, .weight_decay = 0};
        std::size_t batch = 1;  // gradients, of this and the following noise seeds, whose mean is a step
    };

    explicit QuadraticWorker(const Options& options) : options_(options) {
        layout_.add("x", {static_cast<std::int64_t>(options.parameters)});
        parameters_ = kernels::FlatBuffer(layout_.size());
        gradient_ = kernels::FlatBuffer(layout_.size());
        Rng rng = Rng(options.minimum_seed).split("minimum");
        for (std::size_t j = 0; j < options.parameters; ++j)
            minimum_.push_back(static_cast<float>(rng.normal()));
    }

    [[nodiscard]] const kernels::Layout& layout() const override { return layout_; }
    [[nodiscard]] std::span<float> parameters() override { return parameters_.span(); }
    void parameters_changed() override { ++changes_; }
    [[nodiscard]] Result<StepResult> inner_step() override {
        ATOLL_ASSIGN(const StepResult result, gradient(gradient_.span()));
        const auto rate = static_cast<float>(options_.learning_rate);
        for (std::size_t j = 0; j < options_.parameters; ++j)
            parameters_.data()[j] -= rate * gradient_.data()[j];
        ++step_;
        return result;
    }
    [[nodiscard]] Result<StepResult> gradient(std::span<float> gradient) override {
        double loss = 0;
        for (std::size_t j = 0; j < options_.parameters; ++j) {
            const double away = static_cast<double>(parameters_.data()[j]) - static_cast<double>(minimum_[j]);
            loss += 0.5 * curvature(j) * away * away;
            gradient[j] = static_cast<float>(curvature(j) * away + noise(j));
        }
        return StepResult{
            .loss = loss, .tokens = 1, .gradient_norm = 0, .learning_rate = options_.learning_rate};
    }
    // With the noise of the gradient as a slope, so that its gradient is gradient(): a batch is a step's.
    [[nodiscard]] Result<model::BatchLoss> loss(model::Draw) override {
        double loss = 0;
        for (std::size_t j = 0; j < options_.parameters; ++j) {
            const double x = static_cast<double>(parameters_.data()[j]);
            const double away = x - static_cast<double>(minimum_[j]);
            loss += 0.5 * curvature(j) * away * away + noise(j) * x;
        }
        return model::BatchLoss{loss, 1};
    }
    [[nodiscard]] Result<double> validation_loss() override {
        ATOLL_ASSIGN(const StepResult result, gradient(gradient_.span()));
        return result.loss;
    }
    [[nodiscard]] Result<std::unique_ptr<model::Optimizer>> make_optimizer(
        const kernels::Layout& layout) override {
        if (!ops_) ops_ = kernels::make_cpu_ops(1);
        return model::make_optimizer(options_.optimizer, *ops_, layout, options_.optimizer_options);
    }
    [[nodiscard]] double learning_rate() const override { return options_.learning_rate; }
    [[nodiscard]] std::uint64_t step() const override { return step_; }
    void set_step(std::uint64_t step) override { step_ = step; }

    [[nodiscard]] std::size_t changes() const { return changes_; }
    [[nodiscard]] std::span<const float> minimum() const { return minimum_; }

  private:
    static double curvature(std::size_t j) { return 0.1 + 0.9 * static_cast<double>(j % 10) / 9; }
    [[nodiscard]] double noise(std::size_t j) const {
        double noise = 0;
        for (std::size_t k = 0; k < options_.batch; ++k) {
            Rng rng = Rng(options_.noise_seed + k).split("noise", step_).split("component", j);
            noise += options_.noise * rng.normal() / static_cast<double>(options_.batch);
        }
        return noise;
    }

    Options options_;
    std::unique_ptr<kernels::Ops> ops_;
    kernels::Layout layout_;
    kernels::FlatBuffer parameters_;
    kernels::FlatBuffer gradient_;
    std::vector<float> minimum_;
    std::uint64_t step_ = 0;
    std::size_t changes_ = 0;
};

}  // namespace Atoll::federation::testing

// A worker without a model: noisy gradient descent on a quadratic whose minimum differs from node to node, so
// that the answer of the whole run is known in closed form. For timing-only simulations and quick comparisons
// of algorithms.
#pragma once

#include "federation/worker.h"
#include "kernels/ops.h"

namespace Atoll::sims {

// loss_i(x) = 1/2 sum_j c_j (x_j - b_ij)^2 with curvatures c_j in [0.1, 1] shared by all nodes and b_ij = b_j
// + offset; the mean loss over nodes is least at x = mean_i b_i.
class ToyWorker : public federation::Worker {
  public:
    struct Options {
        std::size_t parameters = 64;
        double learning_rate = 0.1;
        double noise = 0.1;          // standard deviation of each gradient component
        double heterogeneity = 1.0;  // standard deviation of a node's own offset
        std::uint64_t tokens_per_step = 1;
        std::uint64_t seed = 0;
        std::uint64_t node = 0;
        // Of make_optimizer(): the run's.
        std::string optimizer = "sgd";
        model::OptimizerOptions optimizer_options = {.beta1 = 0, .weight_decay = 0};
    };
    explicit ToyWorker(const Options& options);

    [[nodiscard]] const kernels::Layout& layout() const override { return layout_; }
    [[nodiscard]] std::span<float> parameters() override { return parameters_.span(); }
    void parameters_changed() override {}
    [[nodiscard]] Result<federation::StepResult> inner_step() override;
    [[nodiscard]] Result<federation::StepResult> gradient(std::span<float> gradient) override;
    // Of the own minimum: batches differ in the noise of their gradients only.
    [[nodiscard]] Result<model::BatchLoss> loss(model::Draw draw) override;
    // Loss of the live parameters against the shared part b of the minima: the same function on every node.
    [[nodiscard]] Result<double> validation_loss() override;
    // inner_step() is plain gradient descent, whatever this is.
    [[nodiscard]] Result<std::unique_ptr<model::Optimizer>> make_optimizer(
        const kernels::Layout& layout) override;
    [[nodiscard]] double learning_rate() const override { return options_.learning_rate; }
    [[nodiscard]] std::uint64_t step() const override { return step_; }
    void set_step(std::uint64_t step) { step_ = step; }

  private:
    [[nodiscard]] double curvature(std::size_t j) const;

    Options options_;
    std::unique_ptr<kernels::Ops> ops_;  // of the optimizers
    kernels::Layout layout_;
    kernels::FlatBuffer parameters_;
    kernels::FlatBuffer gradient_;
    std::vector<float> shared_minimum_;
    std::vector<float> own_minimum_;
    std::uint64_t step_ = 0;
};

}  // namespace Atoll::sims

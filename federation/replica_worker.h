// The real Worker: a model::Trainer as an algorithm sees it.
#pragma once

#include "federation/run_config.h"
#include "federation/worker.h"
#include "model/trainer.h"

namespace Atoll::federation {

// How the run configuration trains a replica. Two members build the same initial parameters from it.
[[nodiscard]] model::TrainerOptions trainer_options(const RunConfig& config);

class ReplicaWorker : public Worker {
  public:
    // `trainer` outlives the object.
    explicit ReplicaWorker(model::Trainer& trainer) : trainer_(trainer) {}

    [[nodiscard]] const kernels::Layout& layout() const override { return trainer_.layout(); }
    [[nodiscard]] std::span<float> parameters() override { return trainer_.parameters(); }
    void parameters_changed() override { trainer_.parameters_changed(); }
    [[nodiscard]] Result<StepResult> inner_step() override;
    [[nodiscard]] Result<StepResult> gradient(std::span<float> gradient) override;
    [[nodiscard]] Result<model::BatchLoss> loss(model::Draw draw) override { return trainer_.loss(draw); }
    void add_normals(std::span<const kernels::NormalTerm> terms) override { trainer_.add_normals(terms); }
    [[nodiscard]] Result<double> validation_loss() override { return trainer_.validation_loss(); }
    [[nodiscard]] Result<std::unique_ptr<model::Optimizer>> make_optimizer(
        const kernels::Layout& layout) override {
        return trainer_.make_optimizer(layout);
    }
    [[nodiscard]] double learning_rate() const override { return trainer_.learning_rate(); }
    void release_optimizer() override { trainer_.release_optimizer(); }
    [[nodiscard]] std::uint64_t step() const override { return trainer_.step(); }
    void set_step(std::uint64_t step) override;

  private:
    model::Trainer& trainer_;
};

}  // namespace Atoll::federation

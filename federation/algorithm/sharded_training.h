// Synchronous training whose steps are the inner optimizer's, on mean gradients, with its state sharded.
#pragma once

#include "federation/algorithm/sharded_optimizer.h"
#include "federation/algorithm/synchronous_training.h"

namespace Atoll::federation {

class ShardedTraining : public SynchronousTraining {
  public:
    // `exchanges`: a step.
    ShardedTraining(const RunConfig& config, std::size_t parameters, std::uint64_t exchanges)
        : SynchronousTraining(config, parameters, exchanges),
          optimizer_(config, parameters, this->exchanges()) {}

    // Beside SynchronousTraining's: "shard.*" (own).
    [[nodiscard]] std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = SynchronousTraining::state();
        optimizer_.append_to(vectors);
        return vectors;
    }
    [[nodiscard]] bool reserve(std::string_view name) override {
        return optimizer_.reserve(name) || SynchronousTraining::reserve(name);
    }

  protected:
    [[nodiscard]] gossip::OwnerStep& owner_step() override { return optimizer_; }

    ShardedOptimizer optimizer_;
};

}  // namespace Atoll::federation

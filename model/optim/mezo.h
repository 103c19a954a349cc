// MeZO (Malladi et al. 2023, arXiv 2305.17333): the slope along a random direction in place of the gradient,
//
//   g = clip((L(x + eps z) - L(x - eps z)) / (2 eps)),     x <- (1 - lr wd) x - lr g z
//
// with decay of matrices only. No gradient, no state: the memory of inference.
#pragma once

#include <vector>

#include "model/optim/optimizer.h"

namespace Atoll::model {

class Mezo : public Optimizer {
  public:
    Mezo(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops), options_(options), ranges_(decay_ranges(layout)), size_(layout.size()) {}

    [[nodiscard]] Result<ForwardReport> forward_step(const ForwardStep& step) override;
    [[nodiscard]] std::vector<StateVector> state() override { return {}; }

  protected:
    kernels::Ops& ops_;
    OptimizerOptions options_;

  private:
    std::vector<DecayRange> ranges_;
    std::size_t size_;
};

}  // namespace Atoll::model

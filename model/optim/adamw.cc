// AdamW (Loshchilov and Hutter 2019, algorithm 2), with m, v from 0 and g the scaled gradient:
//   m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
//   theta -= lr ( m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay theta )
#include "base/check.h"
#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"

namespace Atoll::model {

namespace {

class AdamW final : public Optimizer {
  public:
    AdamW(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          ranges_(decay_ranges(layout, options.scales)),
          m_(layout.size()),
          v_(layout.size()) {}

    void step(const OptimizerStep& step) override {
        ATOLL_CHECK(step.parameters.size() == m_.size() && step.gradients.size() == m_.size() &&
                    step.step >= 1);
        for (const DecayRange& range : ranges_) {
            ops_.update(adam_update(step, range, options_.beta1, options_.beta2, options_.epsilon,
                                    options_.weight_decay, m_.data(), v_.data()));
        }
    }

    std::vector<StateVector> state() override { return {{"m", m_.span()}, {"v", v_.span()}}; }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    std::vector<DecayRange> ranges_;
    kernels::FlatBuffer m_, v_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw(kernels::Ops& ops, const kernels::Layout& layout,
                                      const OptimizerOptions& options) {
    return std::make_unique<AdamW>(ops, layout, options);
}

}  // namespace Atoll::model

// AdamW (Loshchilov and Hutter 2019, algorithm 2), with m, v from 0 and g the scaled gradient:
//   m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
//   theta -= lr ( m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay theta )
#include "base/check.h"
#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"
#include "model/optim/moments.h"

namespace Atoll::model {

namespace {

class AdamW final : public Optimizer {
  public:
    AdamW(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          size_(layout.size()),
          moments_(options.state, decay_ranges(layout, options.scales), {{"m"}, {"v", Sign::positive}}) {}

    void step(const OptimizerStep& step) override {
        ATOLL_CHECK(step.parameters.size() == size_ && step.gradients.size() == size_ && step.step >= 1);
        moments_.visit(step.step, [&](const DecayRange& part, const Moments::Pointers& vectors) {
            ops_.update(adam_update(step, part, options_.beta1, options_.beta2, options_.epsilon,
                                    options_.weight_decay, vectors[0], vectors[1]));
        });
    }

    std::vector<StateVector> state() override { return moments_.state(); }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    std::size_t size_;
    Moments moments_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw(kernels::Ops& ops, const kernels::Layout& layout,
                                      const OptimizerOptions& options) {
    return std::make_unique<AdamW>(ops, layout, options);
}

}  // namespace Atoll::model

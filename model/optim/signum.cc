// Signum (Bernstein et al. 2018; the form of Semenov et al. 2025, arXiv 2509.01440), with m from 0, g the
// scaled gradient and beta = beta1:
//   m = beta m + g
//   theta -= lr ( sign(g + beta m) + weight_decay theta )     with Nesterov's look-ahead
//   theta -= lr ( sign(m) + weight_decay theta )              without
#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"
#include "model/optim/moments.h"

namespace Atoll::model {

namespace {

class Signum final : public Optimizer {
  public:
    Signum(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          moments_(options.state, decay_ranges(layout, options.scales), {{"m"}}) {}

    void step(const OptimizerStep& step) override {
        const auto beta = static_cast<float>(options_.beta1);
        moments_.visit(step.step, [&](const DecayRange& range, const Moments::Pointers& vectors) {
            ops_.update(kernels::SignumUpdate{.at = update_range(step, range, options_.weight_decay),
                                              .m = vectors[0],
                                              .beta = beta,
                                              .gradient_weight = options_.nesterov ? 1.0F : 0.0F,
                                              .momentum_weight = options_.nesterov ? beta : 1.0F,
                                              .rate = static_cast<float>(step.learning_rate * range.rate)});
        });
    }

    std::vector<StateVector> state() override { return moments_.state(); }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    Moments moments_;
};

}  // namespace

std::unique_ptr<Optimizer> make_signum(kernels::Ops& ops, const kernels::Layout& layout,
                                       const OptimizerOptions& options) {
    return std::make_unique<Signum>(ops, layout, options);
}

}  // namespace Atoll::model

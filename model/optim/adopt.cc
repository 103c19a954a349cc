// ADOPT (Taniguchi et al. 2024, arXiv 2411.02853, algorithm 2), with g the scaled gradient. The first step
// only sets v = g^2. Then, for t = 1, 2, ...
//   n = g / max(sqrt(v), epsilon), cut to +-t^(1/4)
//   m = beta1 m + (1 - beta1) n
//   theta -= lr ( m + weight_decay theta )
//   v = beta2 v + (1 - beta2) g^2         after its use: n and v do not correlate
#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"
#include "model/optim/moments.h"

namespace Atoll::model {

namespace {

class Adopt final : public Optimizer {
  public:
    Adopt(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          moments_(options.state, decay_ranges(layout, options.scales), {{"m"}, {"v", Sign::positive}}) {}

    void step(const OptimizerStep& step) override {
        moments_.visit(step.step, [&](const DecayRange& range, const Moments::Pointers& vectors) {
            const kernels::UpdateRange at = update_range(step, range, options_.weight_decay);
            if (step.step == 1) {
                ops_.update(kernels::SquareUpdate{.at = at, .v = vectors[1], .beta = 0});
                return;
            }
            ops_.update(kernels::AdoptUpdate{
                .at = at,
                .m = vectors[0],
                .v = vectors[1],
                .beta1 = static_cast<float>(options_.beta1),
                .beta2 = static_cast<float>(options_.beta2),
                .rate = static_cast<float>(step.learning_rate * range.rate),
                .epsilon = static_cast<float>(options_.epsilon * range.epsilon),
                .clip = static_cast<float>(std::pow(static_cast<double>(step.step - 1), 0.25))});
        });
    }

    std::vector<StateVector> state() override { return moments_.state(); }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    Moments moments_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adopt(kernels::Ops& ops, const kernels::Layout& layout,
                                      const OptimizerOptions& options) {
    return std::make_unique<Adopt>(ops, layout, options);
}

}  // namespace Atoll::model

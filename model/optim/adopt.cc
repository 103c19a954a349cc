// ADOPT (Taniguchi et al. 2024, arXiv 2411.02853, algorithm 2), with g the scaled gradient. The first step
// only sets v = g^2. Then, for t = 1, 2, ...
//   n = g / max(sqrt(v), epsilon), cut to +-t^(1/4)
//   m = beta1 m + (1 - beta1) n
//   theta -= lr ( m + weight_decay theta )
//   v = beta2 v + (1 - beta2) g^2         after its use: n and v do not correlate
#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"

namespace Atoll::model {

namespace {

class Adopt final : public Optimizer {
  public:
    Adopt(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          ranges_(decay_ranges(layout, options.scales)),
          m_(layout.size()),
          v_(layout.size()) {}

    void step(const OptimizerStep& step) override {
        for (const DecayRange& range : ranges_) {
            const kernels::UpdateRange at = update_range(step, range, options_.weight_decay);
            if (step.step == 1) {
                ops_.update(kernels::SquareUpdate{.at = at, .v = v_.data() + range.offset, .beta = 0});
                continue;
            }
            ops_.update(kernels::AdoptUpdate{
                .at = at,
                .m = m_.data() + range.offset,
                .v = v_.data() + range.offset,
                .beta1 = static_cast<float>(options_.beta1),
                .beta2 = static_cast<float>(options_.beta2),
                .rate = static_cast<float>(step.learning_rate * range.rate),
                .epsilon = static_cast<float>(options_.epsilon * range.epsilon),
                .clip = static_cast<float>(std::pow(static_cast<double>(step.step - 1), 0.25))});
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

std::unique_ptr<Optimizer> make_adopt(kernels::Ops& ops, const kernels::Layout& layout,
                                      const OptimizerOptions& options) {
    return std::make_unique<Adopt>(ops, layout, options);
}

}  // namespace Atoll::model

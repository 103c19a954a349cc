// Lion (Chen et al. 2023, algorithm 2), with m from 0 and g the scaled gradient:
//   theta -= lr ( sign(beta1 m + (1 - beta1) g) + weight_decay theta )
//   m = beta2 m + (1 - beta2) g
#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"

namespace Atoll::model {

namespace {

class Lion final : public Optimizer {
  public:
    Lion(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops), options_(options), ranges_(decay_ranges(layout, options.scales)), m_(layout.size()) {}

    void step(const OptimizerStep& step) override {
        for (const DecayRange& range : ranges_) {
            ops_.update(kernels::LionUpdate{.at = update_range(step, range, options_.weight_decay),
                                            .m = m_.data() + range.offset,
                                            .beta1 = static_cast<float>(options_.beta1),
                                            .beta2 = static_cast<float>(options_.beta2),
                                            .rate = static_cast<float>(step.learning_rate * range.rate)});
        }
    }

    std::vector<StateVector> state() override { return {{"m", m_.span()}}; }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    std::vector<DecayRange> ranges_;
    kernels::FlatBuffer m_;
};

}  // namespace

std::unique_ptr<Optimizer> make_lion(kernels::Ops& ops, const kernels::Layout& layout,
                                     const OptimizerOptions& options) {
    return std::make_unique<Lion>(ops, layout, options);
}

}  // namespace Atoll::model

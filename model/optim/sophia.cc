// Sophia-G (Liu et al. 2023, arXiv 2305.14342, algorithm 3), with m, h from 0, g the scaled gradient and B
// the tokens of a batch:
//   every k steps: h = beta2 h + (1 - beta2) ghat^2, ghat the gradient with labels drawn from the model
//   itself m = beta1 m + (1 - beta1) g theta -= lr ( m / (rho B h + 1e-15), cut to +-1, + weight_decay theta
//   )
// B ghat^2 is the Gauss-Newton-Bartlett estimate of the Hessian's diagonal.
#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"
#include "model/optim/moments.h"

namespace Atoll::model {

namespace {

class Sophia final : public Optimizer {
  public:
    Sophia(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          moments_(options.state, decay_ranges(layout), {{"m"}, {"h", Sign::positive}}) {}

    [[nodiscard]] bool wants_curvature(std::int64_t step) const override {
        return (step - 1) % options_.curvature_interval == 0;
    }

    void curvature(std::span<const float> sampled) override {
        // Rounded like a step, but not as the one that follows: -1 is the number of none.
        moments_.visit(-1, [&](const DecayRange& range, const Moments::Pointers& vectors) {
            ops_.update(kernels::SquareUpdate{
                .at = {.parameters = nullptr, .gradients = sampled.data() + range.offset, .size = range.size},
                .v = vectors[1],
                .beta = static_cast<float>(options_.beta2)});
        });
    }

    void step(const OptimizerStep& step) override {
        const double scale = options_.rho * static_cast<double>(options_.batch_tokens);
        moments_.visit(step.step, [&](const DecayRange& range, const Moments::Pointers& vectors) {
            ops_.update(kernels::SophiaUpdate{.at = update_range(step, range, options_.weight_decay),
                                              .m = vectors[0],
                                              .h = vectors[1],
                                              .beta1 = static_cast<float>(options_.beta1),
                                              .rate = static_cast<float>(step.learning_rate),
                                              .curvature_scale = static_cast<float>(scale),
                                              .floor = 1e-15F});
        });
    }

    std::vector<StateVector> state() override { return moments_.state(); }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    Moments moments_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sophia(kernels::Ops& ops, const kernels::Layout& layout,
                                       const OptimizerOptions& options) {
    return std::make_unique<Sophia>(ops, layout, options);
}

}  // namespace Atoll::model

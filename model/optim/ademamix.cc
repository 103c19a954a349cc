// AdEMAMix (Pagliardini et al. 2024, arXiv 2409.03137, algorithm 1): Adam with a second, much slower average
// s of the gradients, with m, v, s from 0 and g the scaled gradient:
//   m = beta1 m + (1 - beta1) g      v = beta2 v + (1 - beta2) g^2      s = beta3(t) s + (1 - beta3(t)) g
//   theta -= lr ( (m / (1 - beta1^t) + alpha(t) s) / (sqrt(v / (1 - beta2^t)) + epsilon)
//                 + weight_decay theta )
// alpha(t) rises linearly to alpha over the horizon T; beta3(t) rises from beta1 to beta3 over T so that the
// half-life of s rises linearly.
#include <algorithm>
#include <numbers>

#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"
#include "model/optim/moments.h"

namespace Atoll::model {

namespace {

// Steps until half of an average with this decay is forgotten, less one.
double half_life(double beta) { return -std::numbers::ln2 / std::log(beta + 1e-8) - 1; }

double slow_decay(const OptimizerOptions& o, double done) {
    if (done >= 1) return o.beta3;
    return std::pow(0.5, 1 / (1 + (1 - done) * half_life(o.beta1) + done * half_life(o.beta3)));
}

class Ademamix final : public Optimizer {
  public:
    Ademamix(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          moments_(options.state, decay_ranges(layout, options.scales),
                   {{"m"}, {"v", Sign::positive}, {"slow"}}) {}

    void step(const OptimizerStep& step) override {
        const OptimizerOptions& o = options_;
        const auto horizon = static_cast<double>(std::max<std::int64_t>(o.horizon_steps, 1));
        const double done = std::min(1.0, static_cast<double>(step.step) / horizon);
        moments_.visit(step.step, [&](const DecayRange& range, const Moments::Pointers& vectors) {
            ops_.update(kernels::AdemamixUpdate{
                .at = update_range(step, range, o.weight_decay),
                .m = vectors[0],
                .v = vectors[1],
                .slow = vectors[2],
                .beta1 = static_cast<float>(o.beta1),
                .beta2 = static_cast<float>(o.beta2),
                .beta3 = static_cast<float>(slow_decay(o, done)),
                .alpha = static_cast<float>(o.alpha * done),
                .rate = static_cast<float>(step.learning_rate * range.rate),
                .mean_scale = static_cast<float>(1 / bias_correction(o.beta1, step.step)),
                .root_scale = static_cast<float>(1 / std::sqrt(bias_correction(o.beta2, step.step))),
                .epsilon = static_cast<float>(o.epsilon * range.epsilon)});
        });
    }

    std::vector<StateVector> state() override { return moments_.state(); }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    Moments moments_;
};

}  // namespace

std::unique_ptr<Optimizer> make_ademamix(kernels::Ops& ops, const kernels::Layout& layout,
                                         const OptimizerOptions& options) {
    return std::make_unique<Ademamix>(ops, layout, options);
}

}  // namespace Atoll::model

// Prodigy (Mishchenko and Defazio 2023, arXiv 2306.06101, algorithm 4), with m, v, s, r from 0, d from 1e-6,
// beta3 = sqrt(beta2), theta_0 the parameters at the first step and g the scaled gradient:
//   q = d lr sqrt(1 - beta2^t) / (1 - beta1^t)
//   r = beta3 r + (d / d_0) q <g, theta_0 - theta>      s = beta3 s + (d / d_0) q g
//   m = beta1 m + d (1 - beta1) g                       v = beta2 v + d^2 (1 - beta2) g^2
//   d = max(d, r / |s|_1)
//   theta -= q ( m / (sqrt(v) + d epsilon) + weight_decay theta )
// The learning rate multiplies an estimate that adapts itself: 1 suits. d is one number for all parameters.
#include <algorithm>

#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"

namespace Atoll::model {

namespace {

constexpr float kFirstDistance = 1e-6F;

class Prodigy final : public Optimizer {
  public:
    Prodigy(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          ranges_(decay_ranges(layout)),
          m_(layout.size()),
          v_(layout.size()),
          s_(layout.size()),
          start_(layout.size()) {}

    void step(const OptimizerStep& step) override {
        const OptimizerOptions& o = options_;
        if (step.step == 1) std::ranges::copy(step.parameters, start_.data());
        const auto d = static_cast<double>(distance_);
        const double rate = d * step.learning_rate * std::sqrt(bias_correction(o.beta2, step.step)) /
                            bias_correction(o.beta1, step.step);
        const double weight = d / static_cast<double>(kFirstDistance) * rate;
        const double beta3 = std::sqrt(o.beta2);
        const kernels::ProdigySums sums =
            ops_.prodigy_moments({.at = {.parameters = step.parameters.data(),
                                         .gradients = step.gradients.data(),
                                         .size = step.parameters.size(),
                                         .gradient_scale = static_cast<float>(step.gradient_scale)},
                                  .start = start_.data(),
                                  .m = m_.data(),
                                  .v = v_.data(),
                                  .s = s_.data(),
                                  .beta1 = static_cast<float>(o.beta1),
                                  .beta2 = static_cast<float>(o.beta2),
                                  .beta3 = static_cast<float>(beta3),
                                  .first_weight = static_cast<float>(d * (1 - o.beta1)),
                                  .second_weight = static_cast<float>(d * d * (1 - o.beta2)),
                                  .sum_weight = static_cast<float>(weight)});
        numerator_ = static_cast<float>(beta3 * static_cast<double>(numerator_) + weight * sums.toward_start);
        if (sums.absolute > 0) {
            const double estimate = static_cast<double>(numerator_) / sums.absolute;
            distance_ = std::max(distance_, static_cast<float>(estimate));
        }
        for (const DecayRange& range : ranges_) {
            kernels::UpdateRange at = update_range(step, range, 0);
            if (range.decays) at.decay = static_cast<float>(1 - rate * o.weight_decay);
            ops_.update(kernels::ProdigyUpdate{
                .at = at,
                .m = m_.data() + range.offset,
                .v = v_.data() + range.offset,
                .rate = static_cast<float>(rate),
                .epsilon = static_cast<float>(static_cast<double>(distance_) * o.epsilon)});
        }
    }

    std::vector<StateVector> state() override {
        return {{"m", m_.span()},
                {"v", v_.span()},
                {"s", s_.span()},
                {"start", start_.span()},
                {"distance", {&distance_, 1}, true},
                {"numerator", {&numerator_, 1}, true}};
    }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    std::vector<DecayRange> ranges_;
    kernels::FlatBuffer m_, v_, s_, start_;
    float distance_ = kFirstDistance, numerator_ = 0;
};

}  // namespace

std::unique_ptr<Optimizer> make_prodigy(kernels::Ops& ops, const kernels::Layout& layout,
                                        const OptimizerOptions& options) {
    return std::make_unique<Prodigy>(ops, layout, options);
}

}  // namespace Atoll::model

// Schedule-Free AdamW (Defazio et al. 2024, arXiv 2405.15682, section 4 and its AdamW form), with v from 0, z
// from theta, gamma the learning rate and g the scaled gradient at y:
//   y = (1 - beta1) z + beta1 x
//   v = beta2 v + (1 - beta2) g^2
//   z -= gamma ( g / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay y )
//   x = (1 - c) x + c z,     c = w / (sum of all w),  w = (largest gamma so far)^2
// The parameters are x: what is evaluated, saved and exchanged. The state keeps lead = z - x, so that a merge
// that moves x moves z along. Gradients are taken at gradient_point(), which is y.
#include <algorithm>

#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"
#include "model/optim/moments.h"

namespace Atoll::model {

namespace {

class ScheduleFree final : public Optimizer {
  public:
    ScheduleFree(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          moments_(options.state, decay_ranges(layout, options.scales), {{"v", Sign::positive}}),
          lead_(layout.size()),
          y_(layout.size()) {}

    std::span<const float> gradient_point(std::span<const float> parameters) override {
        std::ranges::copy(parameters, y_.data());
        ops_.axpy(static_cast<float>(1 - options_.beta1), lead_.data(), y_.data(), y_.size());
        return y_.span();
    }

    void step(const OptimizerStep& step) override {
        rate_max_ = std::max(rate_max_, static_cast<float>(step.learning_rate));
        const double weight = static_cast<double>(rate_max_) * static_cast<double>(rate_max_);
        weight_sum_ += static_cast<float>(weight);
        const double share = weight_sum_ > 0 ? weight / static_cast<double>(weight_sum_) : 0;
        moments_.visit(step.step, [&](const DecayRange& range, const Moments::Pointers& vectors) {
            ops_.update(kernels::ScheduleFreeUpdate{
                .at = update_range(step, range, 0),
                .lead = lead_.data() + range.offset,
                .v = vectors[0],
                .beta1 = static_cast<float>(options_.beta1),
                .beta2 = static_cast<float>(options_.beta2),
                .rate = static_cast<float>(step.learning_rate * range.rate),
                .root_scale = static_cast<float>(1 / std::sqrt(bias_correction(options_.beta2, step.step))),
                .epsilon = static_cast<float>(options_.epsilon * range.epsilon),
                .weight_decay = static_cast<float>(range.decays ? options_.weight_decay / range.rate : 0),
                .share = static_cast<float>(std::min(share, 1.0))});
        });
    }

    std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = moments_.state();
        vectors.push_back({"lead", lead_.span()});  // part of the weights: always in fp32
        vectors.push_back({"rate_max", {&rate_max_, 1}, true});
        vectors.push_back({"weight_sum", {&weight_sum_, 1}, true});
        return vectors;
    }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    Moments moments_;
    kernels::FlatBuffer lead_, y_;
    float rate_max_ = 0, weight_sum_ = 0;
};

}  // namespace

std::unique_ptr<Optimizer> make_schedule_free(kernels::Ops& ops, const kernels::Layout& layout,
                                              const OptimizerOptions& options) {
    return std::make_unique<ScheduleFree>(ops, layout, options);
}

}  // namespace Atoll::model

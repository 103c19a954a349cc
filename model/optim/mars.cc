// MARS-AdamW, approximate form (Yuan et al. 2024, arXiv 2411.10438, algorithm 2), for matrices, with g the
// scaled gradient and p the one of the step before (0 at first):
//   c = g + eta beta1 / (1 - beta1) (g - p)        divided by |c| if |c| > 1, tensor by tensor
//   then AdamW with c in place of g
// Vectors follow AdamW. The parameters' replacement by a merge forgets p: it belongs to other weights.
#include <algorithm>

#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"

namespace Atoll::model {

namespace {

class Mars final : public Optimizer {
  public:
    Mars(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          layout_(layout),
          m_(layout.size()),
          v_(layout.size()),
          previous_(layout.size()) {}

    void step(const OptimizerStep& step) override {
        const OptimizerOptions& o = options_;
        for (const kernels::TensorSlot& slot : layout_.slots()) {
            const DecayRange range{slot.offset, slot.size, slot.shape.size() >= 2};
            const kernels::AdamUpdate adam =
                adam_update(step, range, o.beta1, o.beta2, o.epsilon, o.weight_decay, m_.data(), v_.data());
            if (!range.decays) {
                ops_.update(adam);
                continue;
            }
            const double correction = o.variance_reduction * o.beta1 / (1 - o.beta1);
            float* const previous = previous_.data() + slot.offset;
            const double norm = std::sqrt(ops_.squared_norm_of_sum(
                static_cast<float>((1 + correction) * step.gradient_scale), adam.at.gradients,
                static_cast<float>(-correction), previous, slot.size));
            ops_.update(kernels::MarsUpdate{.at = adam.at,
                                            .m = adam.m,
                                            .v = adam.v,
                                            .previous = previous,
                                            .correction = static_cast<float>(correction),
                                            .scale = static_cast<float>(norm > 1 ? 1 / norm : 1),
                                            .beta1 = adam.beta1,
                                            .beta2 = adam.beta2,
                                            .rate = adam.rate,
                                            .root_scale = adam.root_scale,
                                            .epsilon = adam.epsilon});
        }
    }

    std::vector<StateVector> state() override {
        return {{"m", m_.span()}, {"v", v_.span()}, {"previous", previous_.span()}};
    }

    void parameters_replaced() override { std::ranges::fill(previous_.span(), 0.0F); }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    kernels::Layout layout_;
    kernels::FlatBuffer m_, v_, previous_;
};

}  // namespace

std::unique_ptr<Optimizer> make_mars(kernels::Ops& ops, const kernels::Layout& layout,
                                     const OptimizerOptions& options) {
    return std::make_unique<Mars>(ops, layout, options);
}

}  // namespace Atoll::model

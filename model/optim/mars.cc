// MARS-AdamW, approximate form (Yuan et al. 2024, arXiv 2411.10438, algorithm 2), for matrices, with g the
// scaled gradient and p the one of the step before (0 at first):
//   c = g + eta beta1 / (1 - beta1) (g - p)        divided by |c| if |c| > 1, tensor by tensor
//   then AdamW with c in place of g
// Vectors follow AdamW. The parameters' replacement by a merge forgets p: it belongs to other weights.
#include <algorithm>

#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"
#include "model/optim/moments.h"

namespace Atoll::model {

namespace {

std::vector<DecayRange> tensor_ranges(const kernels::Layout& layout) {
    std::vector<DecayRange> ranges;
    for (const kernels::TensorSlot& slot : layout.slots())
        ranges.push_back({slot.offset, slot.size, slot.shape.size() >= 2});
    return ranges;
}

class Mars final : public Optimizer {
  public:
    Mars(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          layout_(layout),
          moments_(options.state, tensor_ranges(layout), {{"m"}, {"v", Sign::positive}}),
          previous_(layout.size()) {}

    void step(const OptimizerStep& step) override {
        const OptimizerOptions& o = options_;
        const double correction = o.variance_reduction * o.beta1 / (1 - o.beta1);
        for (std::size_t i = 0; i < layout_.slots().size(); ++i) {
            const kernels::TensorSlot& slot = layout_.slots()[i];
            const bool matrix = slot.shape.size() >= 2;
            const double norm =
                matrix ? std::sqrt(ops_.squared_norm_of_sum(
                             static_cast<float>((1 + correction) * step.gradient_scale),
                             step.gradients.data() + slot.offset, static_cast<float>(-correction),
                             previous_.data() + slot.offset, slot.size))
                       : 0;
            moments_.visit(i, step.step, [&](const DecayRange& part, const Moments::Pointers& vectors) {
                const kernels::AdamUpdate adam = adam_update(step, part, o.beta1, o.beta2, o.epsilon,
                                                             o.weight_decay, vectors[0], vectors[1]);
                if (!matrix) {
                    ops_.update(adam);
                    return;
                }
                ops_.update(kernels::MarsUpdate{.at = adam.at,
                                                .m = adam.m,
                                                .v = adam.v,
                                                .previous = previous_.data() + part.offset,
                                                .correction = static_cast<float>(correction),
                                                .scale = static_cast<float>(norm > 1 ? 1 / norm : 1),
                                                .beta1 = adam.beta1,
                                                .beta2 = adam.beta2,
                                                .rate = adam.rate,
                                                .root_scale = adam.root_scale,
                                                .epsilon = adam.epsilon});
            });
        }
    }

    std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = moments_.state();
        vectors.push_back({"previous", previous_.span()});
        return vectors;
    }

    void parameters_replaced() override { std::ranges::fill(previous_.span(), 0.0F); }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    kernels::Layout layout_;
    Moments moments_;
    kernels::FlatBuffer previous_;
};

}  // namespace

std::unique_ptr<Optimizer> make_mars(kernels::Ops& ops, const kernels::Layout& layout,
                                     const OptimizerOptions& options) {
    return std::make_unique<Mars>(ops, layout, options);
}

}  // namespace Atoll::model

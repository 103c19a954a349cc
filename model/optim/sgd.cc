// Gradient descent with heavy-ball momentum mu = beta1 (Polyak 1964), g the scaled gradient, and decoupled
// decay:
//   u = mu u + g        theta = (1 - lr weight_decay) theta - lr u
// mu = 0 keeps no state: theta = (1 - lr weight_decay) theta - lr g.
#include "base/check.h"
#include "model/optim/entries.h"

namespace Atoll::model {

namespace {

class Sgd final : public Optimizer {
  public:
    Sgd(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops),
          options_(options),
          ranges_(decay_ranges(layout)),
          size_(layout.size()),
          momentum_(options.beta1 > 0 ? layout.size() : 0) {}

    void step(const OptimizerStep& step) override {
        ATOLL_CHECK(step.parameters.size() == size_ && step.gradients.size() == size_);
        if (options_.weight_decay > 0) {
            const auto kept = static_cast<float>(1 - step.learning_rate * options_.weight_decay);
            for (const DecayRange& range : ranges_) {
                if (range.decays) ops_.scale(kept, step.parameters.data() + range.offset, range.size);
            }
        }
        if (momentum_.size() == 0) {
            const auto rate = static_cast<float>(-step.learning_rate * step.gradient_scale);
            ops_.axpy(rate, step.gradients.data(), step.parameters.data(), size_);
            return;
        }
        ops_.scale(static_cast<float>(options_.beta1), momentum_.data(), size_);
        ops_.axpy(static_cast<float>(step.gradient_scale), step.gradients.data(), momentum_.data(), size_);
        ops_.axpy(static_cast<float>(-step.learning_rate), momentum_.data(), step.parameters.data(), size_);
    }

    std::vector<StateVector> state() override {
        if (momentum_.size() == 0) return {};
        return {{"momentum", momentum_.span()}};
    }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    std::vector<DecayRange> ranges_;
    std::size_t size_;
    kernels::FlatBuffer momentum_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(kernels::Ops& ops, const kernels::Layout& layout,
                                    const OptimizerOptions& options) {
    return std::make_unique<Sgd>(ops, layout, options);
}

}  // namespace Atoll::model

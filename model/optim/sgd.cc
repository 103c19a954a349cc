// Gradient descent with heavy-ball momentum mu = beta1 (Polyak 1964), g the scaled gradient, and decoupled
// decay:
//   u = mu u + g        theta = (1 - lr weight_decay) theta - lr u
// mu = 0 keeps no state: theta = (1 - lr weight_decay) theta - lr g.
#include <optional>

#include "base/check.h"
#include "model/optim/entries.h"
#include "model/optim/moments.h"

namespace Atoll::model {

namespace {

class Sgd final : public Optimizer {
  public:
    Sgd(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops), options_(options), ranges_(decay_ranges(layout)), size_(layout.size()) {
        if (options.beta1 > 0)
            momentum_.emplace(options.state, ranges_, std::vector<Moments::Vector>{{"momentum"}});
    }

    void step(const OptimizerStep& step) override {
        ATOLL_CHECK(step.parameters.size() == size_ && step.gradients.size() == size_);
        if (options_.weight_decay > 0) {
            const auto kept = static_cast<float>(1 - step.learning_rate * options_.weight_decay);
            for (const DecayRange& range : ranges_) {
                if (range.decays) ops_.scale(kept, step.parameters.data() + range.offset, range.size);
            }
        }
        if (!momentum_) {
            const auto rate = static_cast<float>(-step.learning_rate * step.gradient_scale);
            ops_.axpy(rate, step.gradients.data(), step.parameters.data(), size_);
            return;
        }
        momentum_->visit(step.step, [&](const DecayRange& part, const Moments::Pointers& vectors) {
            float* const u = vectors[0];
            ops_.scale(static_cast<float>(options_.beta1), u, part.size);
            ops_.axpy(static_cast<float>(step.gradient_scale), step.gradients.data() + part.offset, u,
                      part.size);
            ops_.axpy(static_cast<float>(-step.learning_rate), u, step.parameters.data() + part.offset,
                      part.size);
        });
    }

    std::vector<StateVector> state() override {
        return momentum_ ? momentum_->state() : std::vector<StateVector>{};
    }

  private:
    kernels::Ops& ops_;
    OptimizerOptions options_;
    std::vector<DecayRange> ranges_;
    std::size_t size_;
    std::optional<Moments> momentum_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(kernels::Ops& ops, const kernels::Layout& layout,
                                    const OptimizerOptions& options) {
    return std::make_unique<Sgd>(ops, layout, options);
}

}  // namespace Atoll::model

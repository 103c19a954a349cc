// Muon (Jordan et al. 2024) and D-Muon (Liu et al. 2025, arXiv 2502.16982, equations 1 and 4). Matrices
// inside the network, with b the momentum, m from 0 and g the scaled gradient:
//   m = b m + g       O = NewtonSchulz(g + b m) (NewtonSchulz(m) without Nesterov's look-ahead)
//   Muon:    theta -= matrix_rate_ratio lr sqrt(max(1, rows / columns)) O          no decay
//   D-Muon:  theta -= lr (0.2 sqrt(max(rows, columns)) O + weight_decay theta)     as large as AdamW's steps
// Everything else follows AdamW.
#include <algorithm>

#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"
#include "model/optim/newton_schulz.h"

namespace Atoll::model {

namespace {

enum class Variant { muon, d_muon };

class Muon final : public Optimizer {
  public:
    Muon(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options, Variant variant)
        : ops_(ops),
          options_(options),
          layout_(layout),
          variant_(variant),
          newton_schulz_(ops),
          m_(layout.size()) {
        std::size_t rest = 0, largest = 0;
        for (const kernels::TensorSlot& slot : layout_.slots()) {
            const bool hidden = is_hidden_matrix(slot);
            second_moments_.push_back(rest);
            if (hidden) largest = std::max(largest, slot.size);
            if (!hidden) rest += slot.size;
        }
        v_ = kernels::FlatBuffer(rest);
        update_ = kernels::FlatBuffer(largest);
    }

    void step(const OptimizerStep& step) override {
        for (std::size_t i = 0; i < layout_.slots().size(); ++i) {
            const kernels::TensorSlot& slot = layout_.slots()[i];
            if (is_hidden_matrix(slot)) {
                step_matrix(step, slot);
            } else {
                step_rest(step, slot, second_moments_[i]);
            }
        }
    }

    std::vector<StateVector> state() override { return {{"m", m_.span()}, {"v", v_.span()}}; }

  private:
    void step_matrix(const OptimizerStep& step, const kernels::TensorSlot& slot) {
        const auto rows = static_cast<double>(slot.shape[0]);
        const auto columns = static_cast<double>(slot.shape[1]);
        const auto momentum = static_cast<float>(options_.momentum);
        ops_.update(kernels::MomentumUpdate{.at = update_range(step, {slot.offset, slot.size, true}, 0),
                                            .m = m_.data() + slot.offset,
                                            .out = update_.data(),
                                            .beta = momentum,
                                            .momentum_weight = options_.nesterov ? momentum : 1,
                                            .lookahead = options_.nesterov ? 1.0F : 0.0F});
        newton_schulz_.orthogonalize(update_.data(), slot.shape[0], slot.shape[1]);
        float* const parameters = step.parameters.data() + slot.offset;
        double rate = step.learning_rate;
        if (variant_ == Variant::muon) {
            rate *= options_.matrix_rate_ratio * std::sqrt(std::max(1.0, rows / columns));
        } else {
            const double decay = 1 - step.learning_rate * options_.weight_decay;
            ops_.scale(static_cast<float>(decay), parameters, slot.size);
            rate *= 0.2 * std::sqrt(std::max(rows, columns));
        }
        ops_.axpy(static_cast<float>(-rate), update_.data(), parameters, slot.size);
    }

    void step_rest(const OptimizerStep& step, const kernels::TensorSlot& slot, std::size_t second_moment) {
        const OptimizerOptions& o = options_;
        const DecayRange range{slot.offset, slot.size, slot.shape.size() >= 2};
        const kernels::AdamUpdate adam = adam_update(step, range, o.beta1, o.beta2, o.epsilon, o.weight_decay,
                                                     m_.data() + slot.offset, v_.data() + second_moment);
        ops_.update(adam);
    }

    kernels::Ops& ops_;
    OptimizerOptions options_;
    kernels::Layout layout_;
    Variant variant_;
    NewtonSchulz newton_schulz_;
    kernels::FlatBuffer m_, v_, update_;
    std::vector<std::size_t> second_moments_;  // of each tensor, in v_; those of hidden matrices have none
};

}  // namespace

std::unique_ptr<Optimizer> make_muon(kernels::Ops& ops, const kernels::Layout& layout,
                                     const OptimizerOptions& options) {
    return std::make_unique<Muon>(ops, layout, options, Variant::muon);
}

std::unique_ptr<Optimizer> make_d_muon(kernels::Ops& ops, const kernels::Layout& layout,
                                       const OptimizerOptions& options) {
    return std::make_unique<Muon>(ops, layout, options, Variant::d_muon);
}

}  // namespace Atoll::model

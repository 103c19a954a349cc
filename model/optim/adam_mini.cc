// Adam-mini (Zhang et al. 2024, arXiv 2406.16793, algorithm 1): AdamW with one second moment for each block
// of parameters, the mean square of its gradient: a row (output neuron, token) of a matrix, a head of the
// query and key projections, a whole vector.
#include "model/optim/adam_factors.h"
#include "model/optim/entries.h"

namespace Atoll::model {

namespace {

class AdamMini final : public Optimizer {
  public:
    AdamMini(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops), options_(options), m_(layout.size()) {
        std::size_t moments = 0;
        for (std::size_t i = 0; i < layout.slots().size(); ++i) {
            const kernels::TensorSlot& slot = layout.slots()[i];
            const std::size_t length = block_length(slot);
            DecayRange range{slot.offset, slot.size, slot.shape.size() >= 2};
            if (!options.scales.empty()) {
                range.rate = options.scales[i].rate;
                range.epsilon = options.scales[i].epsilon;
            }
            blocks_.push_back({range, length, moments});
            moments += slot.size / length;
        }
        v_ = kernels::FlatBuffer(moments);
    }

    void step(const OptimizerStep& step) override {
        const OptimizerOptions& o = options_;
        for (const Blocks& blocks : blocks_) {
            const kernels::AdamUpdate adam =
                adam_update(step, blocks.range, o.beta1, o.beta2, o.epsilon, o.weight_decay,
                            m_.data() + blocks.range.offset, nullptr);
            ops_.update_rows({.at = adam.at,
                              .columns = blocks.length,
                              .m = adam.m,
                              .v = v_.data() + blocks.first_moment,
                              .beta1 = adam.beta1,
                              .beta2 = adam.beta2,
                              .rate = adam.rate,
                              .root_scale = adam.root_scale,
                              .epsilon = adam.epsilon});
        }
    }

    std::vector<StateVector> state() override { return {{"m", m_.span()}, {"v", v_.span()}}; }

  private:
    struct Blocks {
        DecayRange range;
        std::size_t length = 0;        // parameters that share a second moment
        std::size_t first_moment = 0;  // index in v_
    };

    [[nodiscard]] std::size_t block_length(const kernels::TensorSlot& slot) const {
        if (slot.shape.size() != 2) return slot.size;
        const auto columns = static_cast<std::size_t>(slot.shape[1]);
        const auto head = static_cast<std::size_t>(options_.head_dim);
        const bool by_head = slot.name.ends_with("q_proj.weight") || slot.name.ends_with("k_proj.weight") ||
                             slot.name.ends_with("c_attn.weight");
        return by_head && head > 0 && slot.size % (head * columns) == 0 ? head * columns : columns;
    }

    kernels::Ops& ops_;
    OptimizerOptions options_;
    std::vector<Blocks> blocks_;
    kernels::FlatBuffer m_, v_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adam_mini(kernels::Ops& ops, const kernels::Layout& layout,
                                          const OptimizerOptions& options) {
    return std::make_unique<AdamMini>(ops, layout, options);
}

}  // namespace Atoll::model

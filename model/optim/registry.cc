#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/options.h"
#include "model/optim/entries.h"
#include "model/optim/optimizer.h"
#include "model/weights.h"

namespace Atoll::model {

namespace {

constexpr std::array kOptimizers = {
    OptimizerEntry{"adamw", "Adam with decoupled weight decay",
                   "Loshchilov and Hutter 2019, arXiv 1711.05101", 1e-3, OptimizerOptions{}, make_adamw, true,
                   true, false, true},
    OptimizerEntry{"sgd", "stochastic gradient descent, with momentum beta1 (0 = none)",
                   "Robbins and Monro 1951; Polyak 1964", 0.1,
                   OptimizerOptions{.beta1 = 0, .weight_decay = 0}, make_sgd, false, true, false, true},
    OptimizerEntry{"adopt", "Adam that normalises by the variance before this gradient",
                   "Taniguchi et al. 2024, arXiv 2411.02853", 1e-3,
                   OptimizerOptions{.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-6}, make_adopt, true, true,
                   false, true},
    OptimizerEntry{"ademamix", "Adam with a second, slow average of the gradients",
                   "Pagliardini et al. 2024, arXiv 2409.03137", 1e-3,
                   OptimizerOptions{.beta1 = 0.9, .beta2 = 0.999}, make_ademamix, true, true, false, true},
    OptimizerEntry{"lion", "the sign of an average, one state", "Chen et al. 2023, arXiv 2302.06675", 1e-4,
                   OptimizerOptions{.beta1 = 0.9, .beta2 = 0.99}, make_lion, true, true, false, true},
    OptimizerEntry{"signum", "the sign of momentum, one state", "Bernstein et al. 2018, arXiv 1802.04434",
                   1e-4, OptimizerOptions{.beta1 = 0.95}, make_signum, true, true, false, true},
    OptimizerEntry{"muon", "orthogonalised momentum for matrices inside the network, AdamW for the rest",
                   "Jordan et al. 2024", 1e-3, OptimizerOptions{.beta1 = 0.8, .beta2 = 0.999}, make_muon,
                   false, false, true},
    OptimizerEntry{"d_muon", "Muon with weight decay, scaled so that one learning rate suits all",
                   "Liu et al. 2025, arXiv 2502.16982", 1e-3, OptimizerOptions{.beta1 = 0.8, .beta2 = 0.999},
                   make_d_muon, false, false, true},
    OptimizerEntry{"soap", "Adam in the eigenbasis of Shampoo's preconditioner",
                   "Vyas et al. 2024, arXiv 2409.11321", 1e-3, OptimizerOptions{.beta1 = 0.9, .beta2 = 0.999},
                   make_soap, false, false, true},
    OptimizerEntry{"sophia", "momentum over the Gauss-Newton diagonal, cut to one",
                   "Liu et al. 2023, arXiv 2305.14342", 1e-3, OptimizerOptions{.beta1 = 0.9, .beta2 = 0.999},
                   make_sophia, false, true},
    OptimizerEntry{"schedule_free", "AdamW that averages its iterates instead of lowering the rate",
                   "Defazio et al. 2024, arXiv 2405.15682", 1e-3,
                   OptimizerOptions{.beta1 = 0.9, .beta2 = 0.9999}, make_schedule_free, true, true},
    OptimizerEntry{"prodigy", "Adam that estimates its own learning rate",
                   "Mishchenko and Defazio 2023, arXiv 2306.06101", 1,
                   OptimizerOptions{.beta1 = 0.9, .beta2 = 0.999}, make_prodigy},
    OptimizerEntry{"mars", "AdamW on gradients corrected by the change since the step before",
                   "Yuan et al. 2024, arXiv 2411.10438", 3e-3, OptimizerOptions{.beta1 = 0.95, .beta2 = 0.99},
                   make_mars, false, true},
    OptimizerEntry{"adam_mini", "AdamW with one second moment for each row or head",
                   "Zhang et al. 2024, arXiv 2406.16793", 1e-3, OptimizerOptions{.beta1 = 0.9, .beta2 = 0.95},
                   make_adam_mini, true},
    OptimizerEntry{"mezo", "two forward passes a step, no gradient: the memory of inference",
                   "Malladi et al. 2023, arXiv 2305.17333", 1e-6, OptimizerOptions{.weight_decay = 0},
                   make_mezo, false, false, false, true},
    OptimizerEntry{"dizo", "mezo that rescales how far each layer has come",
                   "Tan et al. 2025, arXiv 2502.03304", 1e-6, OptimizerOptions{.weight_decay = 0}, make_dizo,
                   false, false, false, true},
};

}  // namespace

std::span<const OptimizerEntry> optimizers() { return kOptimizers; }

void Optimizer::step(const OptimizerStep&) { ATOLL_CHECK(false); }
Result<ForwardReport> Optimizer::forward_step(const ForwardStep&) { ATOLL_CHECK(false); }

Result<const OptimizerEntry*> find_optimizer(std::string_view name) {
    std::vector<std::string> names;
    std::string list;
    for (const OptimizerEntry& entry : kOptimizers) {
        if (entry.name == name) return &entry;
        names.emplace_back(entry.name);
        list += (list.empty() ? "" : ", ") + names.back();
    }
    const std::string close = nearest(name, names);
    return Error{ErrorCode::invalid, fmt::format("optimizer.name = {}: expected one of {}{}", name, list,
                                                 close.empty() ? "" : "; did you mean " + close + "?")};
}

Result<std::unique_ptr<Optimizer>> make_optimizer(std::string_view name, kernels::Ops& ops,
                                                  const kernels::Layout& layout,
                                                  const OptimizerOptions& options) {
    ATOLL_ASSIGN(const OptimizerEntry* entry, find_optimizer(name));
    if (entry->matrices && std::ranges::none_of(layout.slots(), is_hidden_matrix)) {
        return Error{
            ErrorCode::invalid,
            fmt::format("optimizer.name = {} moves matrices inside the network, and this model has none: "
                        "expected an optimizer of vectors, as adamw",
                        name)};
    }
    return entry->make(ops, layout, options);
}

std::vector<DecayRange> decay_ranges(const kernels::Layout& layout, std::span<const TensorScale> scales) {
    ATOLL_CHECK(scales.empty() || scales.size() == layout.slots().size());
    std::vector<DecayRange> ranges;
    const auto& slots = layout.slots();
    for (std::size_t i = 0; i < slots.size(); ++i) {
        DecayRange next{.offset = slots[i].offset, .decays = slots[i].shape.size() >= 2};
        if (!scales.empty()) {
            next.rate = scales[i].rate;
            next.epsilon = scales[i].epsilon;
        }
        const auto alike = [&](const DecayRange& range) {
            return range.decays == next.decays && range.rate == next.rate && range.epsilon == next.epsilon;
        };
        const std::size_t end = i + 1 < slots.size() ? slots[i + 1].offset : layout.size();
        if (ranges.empty() || !alike(ranges.back())) ranges.push_back(next);
        ranges.back().size = end - ranges.back().offset;
    }
    return ranges;
}

bool is_hidden_matrix(const kernels::TensorSlot& slot) {
    return slot.shape.size() == 2 && !is_token_table(slot);
}

}  // namespace Atoll::model

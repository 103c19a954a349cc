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
    OptimizerEntry{.name = "adamw",
                   .summary = "Adam with decoupled weight decay",
                   .source = "Loshchilov and Hutter 2019, arXiv 1711.05101",
                   .learning_rate = 1e-3,
                   .defaults = OptimizerOptions{},
                   .make = make_adamw,
                   .scales = true,
                   .packs = true,
                   .elementwise = true},
    OptimizerEntry{.name = "sgd",
                   .summary = "stochastic gradient descent, with momentum beta1 (0 = none)",
                   .source = "Robbins and Monro 1951; Polyak 1964",
                   .learning_rate = 0.1,
                   .defaults = OptimizerOptions{.beta1 = 0, .weight_decay = 0},
                   .make = make_sgd,
                   .packs = true,
                   .elementwise = true},
    OptimizerEntry{.name = "adopt",
                   .summary = "Adam that normalises by the variance before this gradient",
                   .source = "Taniguchi et al. 2024, arXiv 2411.02853",
                   .learning_rate = 1e-3,
                   .defaults = OptimizerOptions{.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-6},
                   .make = make_adopt,
                   .scales = true,
                   .packs = true,
                   .elementwise = true},
    OptimizerEntry{.name = "ademamix",
                   .summary = "Adam with a second, slow average of the gradients",
                   .source = "Pagliardini et al. 2024, arXiv 2409.03137",
                   .learning_rate = 1e-3,
                   .defaults = OptimizerOptions{.beta1 = 0.9, .beta2 = 0.999},
                   .make = make_ademamix,
                   .scales = true,
                   .packs = true,
                   .elementwise = true},
    OptimizerEntry{.name = "lion",
                   .summary = "the sign of an average, one state",
                   .source = "Chen et al. 2023, arXiv 2302.06675",
                   .learning_rate = 1e-4,
                   .defaults = OptimizerOptions{.beta1 = 0.9, .beta2 = 0.99},
                   .make = make_lion,
                   .scales = true,
                   .packs = true,
                   .elementwise = true},
    OptimizerEntry{.name = "signum",
                   .summary = "the sign of momentum, one state",
                   .source = "Bernstein et al. 2018, arXiv 1802.04434",
                   .learning_rate = 1e-4,
                   .defaults = OptimizerOptions{.beta1 = 0.95},
                   .make = make_signum,
                   .scales = true,
                   .packs = true,
                   .elementwise = true},
    OptimizerEntry{.name = "muon",
                   .summary = "orthogonalised momentum for matrices inside the network, AdamW for the rest",
                   .source = "Jordan et al. 2024",
                   .learning_rate = 1e-3,
                   .defaults = OptimizerOptions{.beta1 = 0.8, .beta2 = 0.999},
                   .make = make_muon,
                   .matrices = true},
    OptimizerEntry{.name = "d_muon",
                   .summary = "Muon with weight decay, scaled so that one learning rate suits all",
                   .source = "Liu et al. 2025, arXiv 2502.16982",
                   .learning_rate = 1e-3,
                   .defaults = OptimizerOptions{.beta1 = 0.8, .beta2 = 0.999},
                   .make = make_d_muon,
                   .matrices = true},
    OptimizerEntry{.name = "soap",
                   .summary = "Adam in the eigenbasis of Shampoo's preconditioner",
                   .source = "Vyas et al. 2024, arXiv 2409.11321",
                   .learning_rate = 1e-3,
                   .defaults = OptimizerOptions{.beta1 = 0.9, .beta2 = 0.999},
                   .make = make_soap,
                   .matrices = true},
    OptimizerEntry{.name = "sophia",
                   .summary = "momentum over the Gauss-Newton diagonal, cut to one",
                   .source = "Liu et al. 2023, arXiv 2305.14342",
                   .learning_rate = 1e-3,
                   .defaults = OptimizerOptions{.beta1 = 0.9, .beta2 = 0.999},
                   .make = make_sophia,
                   .packs = true},
    OptimizerEntry{.name = "schedule_free",
                   .summary = "AdamW that averages its iterates instead of lowering the rate",
                   .source = "Defazio et al. 2024, arXiv 2405.15682",
                   .learning_rate = 1e-3,
                   .defaults = OptimizerOptions{.beta1 = 0.9, .beta2 = 0.9999},
                   .make = make_schedule_free,
                   .scales = true,
                   .packs = true},
    OptimizerEntry{.name = "prodigy",
                   .summary = "Adam that estimates its own learning rate",
                   .source = "Mishchenko and Defazio 2023, arXiv 2306.06101",
                   .learning_rate = 1,
                   .defaults = OptimizerOptions{.beta1 = 0.9, .beta2 = 0.999},
                   .make = make_prodigy,
                   .coupled = true},
    OptimizerEntry{.name = "mars",
                   .summary = "AdamW on gradients corrected by the change since the step before",
                   .source = "Yuan et al. 2024, arXiv 2411.10438",
                   .learning_rate = 3e-3,
                   .defaults = OptimizerOptions{.beta1 = 0.95, .beta2 = 0.99},
                   .make = make_mars,
                   .packs = true},
    OptimizerEntry{.name = "adam_mini",
                   .summary = "AdamW with one second moment for each row or head",
                   .source = "Zhang et al. 2024, arXiv 2406.16793",
                   .learning_rate = 1e-3,
                   .defaults = OptimizerOptions{.beta1 = 0.9, .beta2 = 0.95},
                   .make = make_adam_mini,
                   .scales = true},
    OptimizerEntry{.name = "mezo",
                   .summary = "two forward passes a step, no gradient: the memory of inference",
                   .source = "Malladi et al. 2023, arXiv 2305.17333",
                   .learning_rate = 1e-6,
                   .defaults = OptimizerOptions{.weight_decay = 0},
                   .make = make_mezo,
                   .forward_only = true},
    OptimizerEntry{.name = "dizo",
                   .summary = "mezo that rescales how far each layer has come",
                   .source = "Tan et al. 2025, arXiv 2502.03304",
                   .learning_rate = 1e-6,
                   .defaults = OptimizerOptions{.weight_decay = 0},
                   .make = make_dizo,
                   .forward_only = true},
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

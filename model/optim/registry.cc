#include <fmt/core.h>

#include <array>

#include "base/options.h"
#include "model/optim/entries.h"
#include "model/optim/optimizer.h"

namespace Atoll::model {

namespace {

constexpr std::array kOptimizers = {
    OptimizerEntry{"adamw", "Adam with decoupled weight decay",
                   "Loshchilov and Hutter 2019, arXiv 1711.05101", make_adamw},
    OptimizerEntry{"sgd", "stochastic gradient descent, with momentum beta1 (0 = none)",
                   "Robbins and Monro 1951; Polyak 1964", make_sgd},
};

}  // namespace

std::span<const OptimizerEntry> optimizers() { return kOptimizers; }

Result<std::unique_ptr<Optimizer>> make_optimizer(std::string_view name, kernels::Ops& ops,
                                                  const kernels::Layout& layout,
                                                  const OptimizerOptions& options) {
    std::vector<std::string> names;
    std::string list;
    for (const OptimizerEntry& entry : kOptimizers) {
        if (entry.name == name) return entry.make(ops, layout, options);
        names.emplace_back(entry.name);
        list += (list.empty() ? "" : ", ") + names.back();
    }
    const std::string close = nearest(name, names);
    return Error{ErrorCode::invalid, fmt::format("optimizer.name = {}: expected one of {}{}", name, list,
                                                 close.empty() ? "" : "; did you mean " + close + "?")};
}

std::vector<DecayRange> decay_ranges(const kernels::Layout& layout) {
    std::vector<DecayRange> ranges;
    const auto& slots = layout.slots();
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const bool decays = slots[i].shape.size() >= 2;
        const std::size_t end = i + 1 < slots.size() ? slots[i + 1].offset : layout.size();
        if (ranges.empty() || ranges.back().decays != decays) ranges.push_back({slots[i].offset, 0, decays});
        ranges.back().size = end - ranges.back().offset;
    }
    return ranges;
}

}  // namespace Atoll::model

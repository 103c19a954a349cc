#include "model/optim/mezo.h"

#include <cmath>

#include "base/check.h"
#include "model/optim/entries.h"
#include "model/optim/spsa.h"

namespace Atoll::model {

Result<ForwardReport> Mezo::forward_step(const ForwardStep& step) {
    ATOLL_CHECK(step.parameters.size() == size_);
    const std::uint64_t seed = direction_seed(options_.seed, static_cast<std::uint64_t>(step.step));
    ATOLL_ASSIGN(const Slope slope, measure_slope(step.objective, Draw::next, seed, options_.perturbation));
    if (options_.weight_decay > 0) {
        const auto kept = static_cast<float>(1 - step.learning_rate * options_.weight_decay);
        for (const DecayRange& range : ranges_) {
            if (range.decays) ops_.scale(kept, step.parameters.data() + range.offset, range.size);
        }
    }
    const double g = clipped(slope.value, step.clip_norm);
    const kernels::NormalTerm term{seed, static_cast<float>(-step.learning_rate * g)};
    step.objective.add_normals({&term, 1});
    return ForwardReport{slope.loss, slope.tokens, std::abs(slope.value)};
}

std::unique_ptr<Optimizer> make_mezo(kernels::Ops& ops, const kernels::Layout& layout,
                                     const OptimizerOptions& options) {
    return std::make_unique<Mezo>(ops, layout, options);
}

}  // namespace Atoll::model

#include "model/optim/spsa.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"

namespace Atoll::model {

std::uint64_t direction_seed(std::uint64_t seed, std::uint64_t step, std::uint64_t index) {
    return Rng(seed).split("direction", step).split("perturbation", index).bits64();
}

Result<Slope> measure_slope(Objective& objective, Draw draw, std::uint64_t seed, double epsilon) {
    const auto move = [&](double steps) {
        const kernels::NormalTerm term{seed, static_cast<float>(steps * epsilon)};
        objective.add_normals({&term, 1});
    };
    move(1);
    const auto above = objective.loss(draw);
    move(-2);
    const auto below = above.ok() ? objective.loss(Draw::again) : above;
    move(1);
    if (!below.ok()) return below.error();
    const Slope slope{.value = (above->loss - below->loss) / (2 * epsilon),
                      .loss = (above->loss + below->loss) / 2,
                      .tokens = draw == Draw::next ? above->tokens : 0};
    if (!std::isfinite(slope.value)) {
        return Error{
            ErrorCode::failed,
            fmt::format("loss {} and {} on the two sides of the parameters: training diverged; lower "
                        "optimizer.learning_rate or optimizer.perturbation ({})",
                        above->loss, below->loss, epsilon)};
    }
    return slope;
}

double clipped(double value, double clip_norm) {
    return clip_norm > 0 ? std::clamp(value, -clip_norm, clip_norm) : value;
}

}  // namespace Atoll::model

// Simultaneous perturbation (Spall 1992) as MeZO does it (Malladi et al. 2023, arXiv 2305.17333, algorithm
// 1): the slope of the loss along one random direction z, from two forward passes and no memory beside the
// parameters, which are moved in place and back.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "model/objective.h"

namespace Atoll::model {

struct Slope {
    double value = 0;  // of the loss along z: E[value z] is the gradient of the loss smoothed over epsilon z
    double loss = 0;   // mean of the two
    std::uint64_t tokens = 0;  // drawn from the data
};

// The direction of perturbation `index` of step `step`: the same for everyone with the same seed, so that no
// seed ever needs to be sent.
[[nodiscard]] std::uint64_t direction_seed(std::uint64_t seed, std::uint64_t step, std::uint64_t index = 0);

// (L(x + epsilon z) - L(x - epsilon z)) / (2 epsilon), both on one batch. x moves by +epsilon z, -2 epsilon z
// and +epsilon z, so it comes back but for rounding. Errors: the loss's; failed if a loss is not finite.
[[nodiscard]] Result<Slope> measure_slope(Objective& objective, Draw draw, std::uint64_t seed,
                                          double epsilon);

// `value` cut to +-clip_norm (0 = off). |slope| is in the mean the norm of the gradient (E z z^T = I).
[[nodiscard]] double clipped(double value, double clip_norm);

}  // namespace Atoll::model

// What Adam-like steps share: bias corrections, and the parameters of one range of the flat vector.
#pragma once

#include <cmath>

#include "kernels/update.h"
#include "model/optim/optimizer.h"

namespace Atoll::model {

// 1 - beta^t
[[nodiscard]] inline double bias_correction(double beta, std::int64_t step) {
    return 1 - std::pow(beta, static_cast<double>(step));
}

// The range's part of a step, with its decay.
[[nodiscard]] inline kernels::UpdateRange update_range(const OptimizerStep& step, const DecayRange& range,
                                                       double weight_decay) {
    return {.parameters = step.parameters.data() + range.offset,
            .gradients = step.gradients.data() + range.offset,
            .size = range.size,
            .gradient_scale = static_cast<float>(step.gradient_scale),
            .decay = static_cast<float>(range.decays ? 1 - step.learning_rate * weight_decay : 1)};
}

// Adam with decoupled decay over one range; m and v are the range's.
[[nodiscard]] inline kernels::AdamUpdate adam_update(const OptimizerStep& step, const DecayRange& range,
                                                     double beta1, double beta2, double epsilon,
                                                     double weight_decay, float* m, float* v) {
    return {.at = update_range(step, range, weight_decay),
            .m = m,
            .v = v,
            .beta1 = static_cast<float>(beta1),
            .beta2 = static_cast<float>(beta2),
            .rate = static_cast<float>(step.learning_rate * range.rate / bias_correction(beta1, step.step)),
            .root_scale = static_cast<float>(1 / std::sqrt(bias_correction(beta2, step.step))),
            .epsilon = static_cast<float>(epsilon * range.epsilon)};
}

}  // namespace Atoll::model

// Learning-rate schedules: pure functions of the step number. All begin with a linear warm-up.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace Atoll::model {

struct ScheduleOptions {
    std::int64_t steps = 0;         // length; afterwards the rate stays where it ended
    std::int64_t warmup_steps = 0;  // the rate reaches its peak at this step
    double final_fraction = 0.1;    // of the peak, at the last step (cosine, wsd)
    double decay_fraction = 0.2;    // wsd: the last part of the steps that decays
};

struct ScheduleEntry {
    std::string_view name;
    std::string_view summary;
    std::string_view source;
    // The rate as a fraction of its peak, in [0, 1], at step number `step`, counted from 1.
    double (*fraction)(const ScheduleOptions& options, std::int64_t step);
};

[[nodiscard]] std::span<const ScheduleEntry> schedules();
// Errors (invalid): unknown name, with the nearest known one.
[[nodiscard]] Result<const ScheduleEntry*> find_schedule(std::string_view name);

// What a gradient of norm `norm` is multiplied with so that its norm is at most norm_max; norm_max 0 = no
// limit.
[[nodiscard]] constexpr double clip_scale(double norm, double norm_max) {
    return norm_max > 0 && norm > norm_max ? norm_max / norm : 1;
}

}  // namespace Atoll::model

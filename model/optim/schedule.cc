#include "model/optim/schedule.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "base/options.h"

namespace Atoll::model {

namespace {

bool warming_up(const ScheduleOptions& o, std::int64_t step) { return step < o.warmup_steps; }

double warmup(const ScheduleOptions& o, std::int64_t step) {
    return static_cast<double>(step) / static_cast<double>(o.warmup_steps);
}

// 0 at step `begin`, 1 from step o.steps on.
double progress(const ScheduleOptions& o, double begin, std::int64_t step) {
    const double length = static_cast<double>(o.steps) - begin;
    return length > 0 ? std::clamp((static_cast<double>(step) - begin) / length, 0.0, 1.0) : 1;
}

double constant(const ScheduleOptions& o, std::int64_t step) {
    return warming_up(o, step) ? warmup(o, step) : 1;
}

double cosine(const ScheduleOptions& o, std::int64_t step) {
    if (warming_up(o, step)) return warmup(o, step);
    const double done = progress(o, static_cast<double>(o.warmup_steps), step);
    return o.final_fraction + (1 - o.final_fraction) * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

double wsd(const ScheduleOptions& o, std::int64_t step) {
    if (warming_up(o, step)) return warmup(o, step);
    const double done = progress(o, static_cast<double>(o.steps) * (1 - o.decay_fraction), step);
    return (1 - done) + o.final_fraction * done;
}

constexpr std::array kSchedules = {
    ScheduleEntry{"constant", "linear warm-up, then the peak rate", "", constant},
    ScheduleEntry{"cosine", "linear warm-up, then half a cosine down to the final fraction",
                  "Loshchilov and Hutter 2017, arXiv 1608.03983", cosine},
    ScheduleEntry{"wsd", "linear warm-up, stable, then a linear decay to the final fraction",
                  "Hu et al. 2024, arXiv 2404.06395; linear decay: Haegele et al. 2024, arXiv 2405.18392",
                  wsd},
};

}  // namespace

std::span<const ScheduleEntry> schedules() { return kSchedules; }

Result<const ScheduleEntry*> find_schedule(std::string_view name) {
    std::vector<std::string> names;
    std::string list;
    for (const ScheduleEntry& entry : kSchedules) {
        if (entry.name == name) return &entry;
        names.emplace_back(entry.name);
        list += (list.empty() ? "" : ", ") + names.back();
    }
    const std::string close = nearest(name, names);
    return Error{ErrorCode::invalid, fmt::format("schedule.name = {}: expected one of {}{}", name, list,
                                                 close.empty() ? "" : "; did you mean " + close + "?")};
}

}  // namespace Atoll::model

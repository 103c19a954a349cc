#include "federation/algorithm/local_steps.h"

#include <algorithm>
#include <cmath>

namespace Atoll::federation {

namespace {

constexpr double kSpeedMemory = 0.5;  // of the average over rounds
constexpr double kRatioMax = 8;       // no member takes more than so many times H, whatever was measured

}  // namespace

void LocalSteps::measure(const RoundReport& report) {
    if (report.steps == 0 || !(report.compute_seconds > 0)) return;
    const double measured = static_cast<double>(report.steps) / report.compute_seconds;
    speed_ = speed_ > 0 ? kSpeedMemory * speed_ + (1 - kSpeedMemory) * measured : measured;
}

void LocalSteps::follow(double reference) {
    if (!dynamic_ || !(speed_ > 0) || !(reference > 0)) return;
    const double ratio = std::min(speed_ / reference, kRatioMax);
    steps_ = static_cast<float>(std::max(1.0, std::round(static_cast<double>(inner_steps_) * ratio)));
}

}  // namespace Atoll::federation

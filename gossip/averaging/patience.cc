#include "gossip/averaging/patience.h"

#include <algorithm>
#include <cmath>

namespace Atoll::gossip {

namespace {

// RFC 6298, section 2.
constexpr double kMeanGain = 1.0 / 8;
constexpr double kSpreadGain = 1.0 / 4;
constexpr double kSpreads = 4;

// Of the deadline: before anything is known, and the least and most of a first wait.
constexpr double kUnknown = 1.0 / 4;
constexpr double kLeast = 1.0 / 32;
constexpr double kMost = 1.0 / 2;

}  // namespace

void Patience::saw(double seconds) {
    if (!seen_) {
        seen_ = true;
        mean_ = seconds;
        spread_ = seconds / 2;
        return;
    }
    spread_ += kSpreadGain * (std::abs(mean_ - seconds) - spread_);
    mean_ += kMeanGain * (seconds - mean_);
}

double Patience::wait(unsigned times) const {
    const double first = seen_ ? std::clamp(mean_ + kSpreads * spread_, kLeast * deadline_, kMost * deadline_)
                               : kUnknown * deadline_;
    return std::ldexp(first, static_cast<int>(std::min(times, 16U)));
}

}  // namespace Atoll::gossip

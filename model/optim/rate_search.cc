#include "model/optim/rate_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/core.h>

#include "base/check.h"

namespace Atoll::model {

namespace {
constexpr std::int64_t kWindowMin = 5;
}

std::int64_t default_window(const RateSearchOptions& options, std::int64_t steps) {
    const std::int64_t window = std::max<std::int64_t>(10, steps / 100);
    return options.merge_interval > 0 ? std::min(window, options.merge_interval / 2) : window;
}

Status validate_rate_search(const RateSearchOptions& options) {
    const auto wrong = [&](const std::string& expected) {
        return Error{ErrorCode::invalid,
                     fmt::format("schedule.search = adalrs with schedule.search_window = {} steps: "
                                 "expected {}",
                                 options.window, expected)};
    };
    if (options.window < kWindowMin) {
        return wrong(
            fmt::format("{} at least (1% of the schedule unless set): a line needs points", kWindowMin));
    }
    if (2 * options.window > options.end - options.begin) {
        return wrong(
            fmt::format("at most half of the steps it searches in, {} to {} (schedule.search_begin, "
                        "search_end)",
                        options.begin, options.end));
    }
    if (options.merge_interval > 0 && 2 * options.window > options.merge_interval) {
        return wrong(
            fmt::format("at most half of algorithm.inner_steps = {}: a trial lies between two merges",
                        options.merge_interval));
    }
    return {};
}

LineFit fit_line(std::span<const float> values) {
    const auto n = static_cast<double>(values.size());
    ATOLL_CHECK(values.size() >= 3);
    LineFit fit;
    for (const float y : values) fit.mean += static_cast<double>(y) / n;
    const double middle = (n - 1) / 2;
    double cross = 0, squares = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double x = static_cast<double>(i) - middle;
        cross += x * (static_cast<double>(values[i]) - fit.mean);
        squares += x * x;
    }
    fit.slope = cross / squares;
    double residuals = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double line = fit.mean + fit.slope * (static_cast<double>(i) - middle);
        residuals += (static_cast<double>(values[i]) - line) * (static_cast<double>(values[i]) - line);
    }
    fit.slope_error = std::sqrt(residuals / (n - 2) / squares);
    return fit;
}

RateSearch::RateSearch(const RateSearchOptions& options)
    : options_(options), state_(kLosses + static_cast<std::size_t>(options.window), 0.0F) {
    ATOLL_CHECK(validate_rate_search(options).ok());
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    state_[kFactor] = 1;
    state_[kVelocity] = -kInfinity;  // the first window has none to be slower than
    state_[kMean] = kInfinity;
}

double RateSearch::factor() const { return trial_ ? raised_ : static_cast<double>(state_[kFactor]); }

std::span<float> RateSearch::losses() {
    return std::span(state_).subspan(kLosses, static_cast<std::size_t>(options_.window));
}

double RateSearch::move(double by) const {
    return std::max(std::pow(options_.shrink, static_cast<double>(state_[kAdjustments])) * by, 1.0);
}

bool RateSearch::fits(std::int64_t step) const {
    if (step < options_.begin || step + options_.window > options_.end) return false;
    return options_.merge_interval == 0 ||
           step % options_.merge_interval + options_.window <= options_.merge_interval;
}

RateSearch::Order RateSearch::observe(std::int64_t step, double loss) {
    const auto value = static_cast<float>(loss);
    if (trial_ && (!std::isfinite(loss) || value > state_[kLossMax])) {
        trial_diverged();
        return Order::roll_back;
    }
    if (step > options_.warmup_steps) state_[kLossMax] = std::max(state_[kLossMax], value);
    if (state_[kFilled] == 0 && !trial_ && !fits(step - 1)) return Order::go_on;
    losses()[static_cast<std::size_t>(state_[kFilled])] = value;
    state_[kFilled] += 1;
    if (static_cast<std::int64_t>(state_[kFilled]) < options_.window) return Order::go_on;
    state_[kFilled] = 0;
    return trial_ ? end_trial() : end_window(step);
}

RateSearch::Order RateSearch::end_window(std::int64_t step) {
    const LineFit fit = fit_line(losses());
    const bool slower = -fit.slope < static_cast<double>(state_[kVelocity]);
    const bool rose = fit.mean > static_cast<double>(state_[kMean]);
    state_[kRises] = rose ? state_[kRises] + 1 : 0;
    state_[kVelocity] = static_cast<float>(-fit.slope);
    state_[kMean] = static_cast<float>(fit.mean);
    if (state_[kRises] == 2) {
        state_[kRises] = 0;
        lower_rate();
        return Order::go_on;
    }
    // The end of a round is no place to begin: what comes next is a merge, which a roll-back would undo.
    const bool merge_next = options_.merge_interval > 0 && step % options_.merge_interval == 0;
    if (!slower || merge_next || !fits(step)) return Order::go_on;
    trial_ = true;
    raised_ = static_cast<double>(state_[kFactor]) * move(options_.raise);
    before_ = fit;
    return Order::save;
}

RateSearch::Order RateSearch::end_trial() {
    const LineFit fit = fit_line(losses());
    const double margin = 2 * std::max(fit.slope_error, before_.slope_error);
    const double gain = before_.slope - fit.slope;  // of velocity
    trial_ = false;
    if (gain < -margin) {
        lower_rate();
        return Order::roll_back;
    }
    if (gain > margin) state_[kFactor] = static_cast<float>(raised_);
    state_[kAdjustments] += 1;
    state_[kVelocity] = static_cast<float>(-fit.slope);
    return Order::go_on;
}

void RateSearch::trial_diverged() {
    ATOLL_CHECK(trial_);
    trial_dropped();
    lower_rate();
}

void RateSearch::trial_dropped() {
    trial_ = false;
    state_[kFilled] = 0;
}

void RateSearch::lower_rate() {
    state_[kFactor] = static_cast<float>(static_cast<double>(state_[kFactor]) / move(options_.lower));
    state_[kAdjustments] += 1;
}

void RateSearch::merged() {
    ATOLL_CHECK(!trial_);
    state_[kFilled] = 0;
}

}  // namespace Atoll::model

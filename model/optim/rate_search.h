// AdaLRS (Dong et al. 2025, arXiv 2506.13274): finds the peak learning rate in one run, from the training
// loss alone.
//
// Every window of k steps between `begin` and `end` gives the velocity v with which the loss falls (the slope
// of a line through its k values, with its standard error e) and its mean:
//   the mean has risen twice in a row:       rate /= max(shrink^j lower, 1)
//   else, v is below that of the window before: a trial of k steps at rate' = rate * max(shrink^j raise, 1)
//     v' > v + 2e                            rate = rate'
//     v' < v - 2e, or a loss above all seen  roll back parameters, optimizer and data; rate /= max(shrink^j
//     lower, 1) otherwise                              the rate stays, the trial's progress too
// with j the number of adjustments before, e the larger of the two errors. Where the paper's text is silent
// (window, estimator of e, meaning of j) these are our choices.
//
// Replicas that merge every `merge_interval` steps search each for itself: windows and trials lie between two
// merges.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace Atoll::model {

struct RateSearchOptions {
    std::int64_t window = 0;  // k, in steps; 0: default_window()
    std::int64_t begin = 0;   // windows lie within steps begin + 1 .. end
    std::int64_t end = 0;
    std::int64_t warmup_steps = 0;    // their losses say nothing about what is too high
    std::int64_t merge_interval = 0;  // in steps; 0: nobody merges
    double raise = 3;
    double lower = 2;
    double shrink = 0.99;
};

// 1% of a run of `steps`, 10 steps at least, half a merge interval at most.
[[nodiscard]] std::int64_t default_window(const RateSearchOptions& options, std::int64_t steps);

// Errors (invalid): a window that is too short or too long, with the keys of table schedule.
[[nodiscard]] Status validate_rate_search(const RateSearchOptions& options);

// The least-squares line through (0, y_0), (1, y_1), ... Precondition: three values or more.
struct LineFit {
    double slope = 0;
    double slope_error = 0;  // standard error
    double mean = 0;
};
[[nodiscard]] LineFit fit_line(std::span<const float> values);

class RateSearch {
  public:
    // Precondition: validate_rate_search(options) is ok.
    explicit RateSearch(const RateSearchOptions& options);

    // What the schedule's rate is multiplied with in the next step.
    [[nodiscard]] double factor() const;
    [[nodiscard]] bool in_trial() const { return trial_; }

    enum class Order {
        go_on,
        save,       // a trial begins: remember parameters, optimizer and position as they are now
        roll_back,  // it failed: go back to them
    };
    // Step number `step`, from 1, has been taken with this loss.
    [[nodiscard]] Order observe(std::int64_t step, double loss);
    // The step in a trial could not be taken (loss not finite), and the caller has rolled back.
    void trial_diverged();
    // A checkpoint is due and the caller has rolled back: the trial is forgotten, a later window may begin
    // another.
    void trial_dropped();
    // The parameters were replaced: a new window begins. Precondition: not in a trial.
    void merged();

    // What must survive a restart. Precondition: not in a trial.
    [[nodiscard]] std::span<float> state() { return state_; }

  private:
    // The state is one vector of floats, for checkpoints: these, and then the losses of the window so far.
    enum Index : std::size_t { kFactor, kAdjustments, kVelocity, kMean, kRises, kLossMax, kFilled, kLosses };
    [[nodiscard]] std::span<float> losses();
    [[nodiscard]] double move(double by) const;  // max(shrink^j by, 1)
    [[nodiscard]] bool fits(
        std::int64_t step) const;  // another k steps after this one, before the next merge
    [[nodiscard]] Order end_window(std::int64_t step);
    [[nodiscard]] Order end_trial();
    void lower_rate();

    RateSearchOptions options_;
    std::vector<float> state_;
    bool trial_ = false;
    double raised_ = 1;  // factor of the trial
    LineFit before_;     // of the window before the trial
};

}  // namespace Atoll::model

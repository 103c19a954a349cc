// Training on one node without a network: the loop behind `atoll train`.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "base/chrome_trace.h"
#include "base/result.h"
#include "base/stop.h"
#include "node/config.h"
#include "node/observe/energy.h"
#include "node/observe/event.h"
#include "node/observe/progress.h"
#include "node/observe/run_folder.h"
#include "node/training.h"

namespace Atoll::node {

struct TrainTotals {
    std::uint64_t tokens = 0;  // over restarts
    double energy_joules = 0;  // over restarts
    double seconds = 0;        // of this process, in training steps
    std::uint64_t tokens_here = 0;
    // Mean over the last steps, at most kLossWindow, and at the end of the run; NaN where there was none.
    double train_loss = std::numeric_limits<double>::quiet_NaN();
    double val_loss = std::numeric_limits<double>::quiet_NaN();
    std::string energy_source;
    std::string checkpoint;
    bool interrupted = false;
};

class TrainLoop {
  public:
    static constexpr std::uint64_t kLossWindow = 20;

    // All outlive the loop.
    TrainLoop(const Config& config, Replica& replica, RunFolder& folder, EventSink& events,
              Progress& progress);

    // Continues from the run folder's newest checkpoint, or, if there is none, from `origin` (a folder of
    // checkpoints, or one) unless that is empty.
    [[nodiscard]] Status resume(const std::filesystem::path& origin);
    // Until `steps` steps are done in all, or a stop is requested; ends with an evaluation and a checkpoint.
    [[nodiscard]] Result<TrainTotals> run(std::uint64_t steps, const StopToken& stop);

    // From now on `trace`, which outlives the loop, is told what was done when: compute, evaluate,
    // checkpoint.
    void trace_into(ChromeTrace& trace) { trace_ = &trace; }

  private:
    // Ends a span of the trace; returns its seconds.
    double span(std::string_view name, std::chrono::steady_clock::time_point begin);
    [[nodiscard]] Status step(std::uint64_t steps);
    [[nodiscard]] Status validate();
    [[nodiscard]] Status save();

    const Config& config_;
    Replica& replica_;
    RunFolder& folder_;
    EventSink& events_;
    Progress& progress_;
    EnergyMeter energy_;
    double energy_before_ = 0;  // joules of earlier processes
    TrainTotals totals_;
    bool save_due_ = false;  // a trial of the rate search was under way
    std::uint64_t saved_step_ = ~std::uint64_t{0};
    std::uint64_t validated_step_ = ~std::uint64_t{0};
    std::vector<double> losses_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    ChromeTrace* trace_ = nullptr;
};

}  // namespace Atoll::node

// What the demo will run: real text turned into shards, the machine's speed measured, a run that fits the
// time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/stop.h"
#include "node/command.h"
#include "node/config.h"
#include "node/observe/progress.h"

namespace Atoll::node {

struct DemoRequest {
    std::int64_t nodes = 4;
    std::string data;  // a text file; empty: the English text that Debian ships
    double seconds = 90;
    bool kill = false;
    std::filesystem::path folder;  // of the demo: it exists and is empty
};

struct DemoPlan {
    std::unique_ptr<Config> config;  // with run.rounds, algorithm.inner_steps and local.data set
    double steps_per_second = 0;     // expected of one node while all of them run
    double val_loss_start = 0;
};

// The demo's choices, where the user made none: small replicas that learn fast, on all cores together.
[[nodiscard]] Result<std::unique_ptr<Config>> demo_config(const GlobalFlags& flags,
                                                          const DemoRequest& request);

// Text to shards under the demo's folder; measures how fast as many replicas as fit on the cores train side
// by side, and sets the rounds so that they take `seconds`. Errors (unavailable): no English text on this
// machine.
[[nodiscard]] Result<DemoPlan> plan_demo(const GlobalFlags& flags, const DemoRequest& request,
                                         const StopToken& stop, Progress& progress);

// Rounds and inner steps for `steps` steps in all: rounds of 60 where there is time for four of them, else
// shorter ones.
struct DemoLength {
    std::int64_t rounds = 1;
    std::int64_t inner_steps = 1;
};
[[nodiscard]] DemoLength demo_length(double steps);

// Mean held-out loss of the newest checkpoint in `checkpoints`, on the batches that val_loss_start was
// measured on.
[[nodiscard]] Result<double> demo_validation(const Config& config, const std::filesystem::path& checkpoints);

}  // namespace Atoll::node

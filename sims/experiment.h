// A scenario, run: members trained on the simulated network, and what came of it.
#pragma once

#include <string>

#include "base/result.h"
#include "sims/scenario.h"

namespace Atoll::sims {

struct ExperimentOptions {
    // Send the same messages, train nothing: a short vector stands for the model's on the wire, the
    // membership is an oracle's.
    bool timing_only = false;
    int threads = 1;
    bool quiet = false;
    std::string trace;  // file for a Chrome trace of what each node does in virtual time; empty: none
};

// Returns the JSON object of `atoll sim --json` (docs/reference/cli.md). Errors: the scenario's data is
// missing, a member failed (the first failure, naming its node). One call a process.
[[nodiscard]] Result<std::string> run_experiment(Scenario scenario, const ExperimentOptions& options);

}  // namespace Atoll::sims

// The configuration of a command: what the run agrees on and what is this machine's own business, from
// defaults, file, environment, --set and flags, in rising order of precedence.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/result.h"
#include "federation/run_config.h"
#include "node/command.h"

namespace Atoll::node {

// Table `local` of a run file: never sent to anybody, not part of the run id.
struct LocalConfig {
    // Files.
    std::string data;           // folder of token shards (atoll data prepare)
    std::string initial_model;  // begin with its parameters: run folder, checkpoint or Hugging Face folder
    std::string runs = "runs";  // run folders are made under it: runs/<run.name>/<utc>-<peer>
    std::string folder;         // this run's folder itself; empty = made under `runs`
    std::string identity;       // this node's key; empty = node.key in the home folder (atoll keygen)
    std::string owner;          // the run owner's key, on the owner's machine only; empty = owner.key there
    std::string certificate;    // empty = the one in the run folder, or self-signed with the owner key
    std::string log_file;       // empty = node.log in the run folder
    // Network.
    std::string name;    // shown to people beside the peer id
    std::string region;  // label of the place it is in, for topology hierarchical; empty = none
    std::string listen = "127.0.0.1:0";  // host:port; port 0 = any free one
    std::string announce;                // what others are told to connect to; empty = the listen address
    std::vector<std::string> bootstrap;  // host:port of members to begin with
    std::string http = "127.0.0.1:0";    // state, health, metrics; empty = none
    // Computing.
    std::string device = "auto";
    std::int64_t threads = 0;            // 0 = one a core
    std::string launcher = "auto";       // what says that this process is one of several ranks of a node
    double rank_deadline_seconds = 600;  // for the other ranks to come, and to answer
    // Checkpoints and evaluation.
    std::int64_t checkpoint_steps = 500;     // `train`: every so many steps
    std::int64_t checkpoint_rounds = 1;      // `node`: every so many rounds
    std::int64_t checkpoint_keep = 2;        // the newest so many are kept ...
    std::int64_t checkpoint_keep_every = 0;  // ... and every so-manieth; 0 = none
    std::int64_t validation_steps = 100;     // `train`: every so many steps; 0 = only at the end
    std::int64_t validation_rounds = 1;      // `node`: every so many rounds; 0 = only at the end
    std::int64_t validation_batches = 8;     // at most so many held-out batches each time
    // Metrics.
    std::int64_t log_steps = 10;  // `train`, `node`: a "step" event every so many steps
    bool tensorboard = true;
    double watts_per_thread = 10;          // for the estimate where the machine has no energy counter
    double grid_grams_per_kwh = 475;       // carbon intensity of the electricity: a world average
    double power_usage_effectiveness = 1;  // whole site over computers: 1 at home, about 1.5 in a data centre
};

struct Config {
    LocalConfig local;
    federation::RunConfig run;
    Options options;  // bound to the two above

    Config();
    Config(const Config&) = delete;
    Config& operator=(const Config&) = delete;
};

// Binds table `local`.
void bind(Options& options, LocalConfig& local);

// A key that a command's own flag sets, with the flag as its origin.
struct Override {
    std::string key;
    std::string value;  // as TOML, or a bare word
    std::string flag;
    bool weak = false;  // only where nobody chose a value
};

// Defaults < file < environment (ATOLL_LOCAL_THREADS) < --set < flags (--seed, --threads, --device, then
// `overrides`). `file`:
// --config or a command's argument; empty = none. Checked by federation::validate. Errors (invalid) name key,
// value, origin.
[[nodiscard]] Result<std::unique_ptr<Config>> load_config(
    const GlobalFlags& flags, const std::string& file, const std::vector<Override>& overrides,
    const std::function<const char*(const char*)>& environment);
// The same with the process's environment and --config.
[[nodiscard]] Result<std::unique_ptr<Config>> load_config(const GlobalFlags& flags,
                                                          const std::vector<Override>& overrides = {});

// Threads to compute with: local.threads, or one a core.
[[nodiscard]] int compute_threads(const LocalConfig& local);

}  // namespace Atoll::node

#include "node/config.h"

#include <fmt/core.h>

#include <cstdlib>
#include <limits>
#include <thread>

namespace Atoll::node {

namespace {

constexpr Range kCount{0, 1e12};
constexpr Range kPositive{1, 1e12};

}  // namespace

void bind(Options& options, LocalConfig& local) {
    const auto scope = Options::Scope::local;
    options.add(scope, "local.data", &local.data, "folder of token shards, made by atoll data prepare");
    options.add(scope, "local.initial_model", &local.initial_model,
                "model whose parameters the run begins with: run folder, checkpoint or Hugging Face folder");
    options.add(scope, "local.runs", &local.runs, "run folders are made under this one");
    options.add(scope, "local.folder", &local.folder,
                "this run's own folder; empty: <runs>/<run.name>/<utc>-<peer>");
    options.add(scope, "local.identity", &local.identity,
                "this node's key file; empty: node.key in the home folder");
    options.add(scope, "local.owner", &local.owner,
                "the run owner's key file; empty: owner.key in the home folder");
    options.add(scope, "local.certificate", &local.certificate,
                "membership certificate; empty: the one in the run folder");
    options.add(scope, "local.log_file", &local.log_file, "log file; empty: node.log in the run folder");
    options.add(scope, "local.name", &local.name, "a name for people, shown beside the peer id");
    options.add(scope, "local.region", &local.region,
                "label of the place this node is in, for topology hierarchical; empty: none");
    options.add(scope, "local.listen", &local.listen, "host:port to listen on; port 0: any free one");
    options.add(scope, "local.announce", &local.announce,
                "host:port that others are told; empty: the listen address");
    options.add(scope, "local.bootstrap", &local.bootstrap, "host:port of members to connect to first");
    options.add(scope, "local.http", &local.http, "host:port of state, health and metrics; empty: none");
    options.add(scope, "local.device", &local.device, OneOf{{"auto", "cpu", "cuda"}}, "where to compute");
    options.add(scope, "local.threads", &local.threads, Range{0, 4096},
                "threads to compute with; 0: one a core");
    options.add(scope, "local.launcher", &local.launcher,
                OneOf{{"auto", "none", "mpirun", "torchrun", "slurm"}},
                "whose variables say that this process is one of several ranks of a node; none: it is a node "
                "of its own");
    options.add(scope, "local.rank_deadline_seconds", &local.rank_deadline_seconds, Range{1, 1e6},
                "how long a rank waits for the others of its node");
    options.add(scope, "local.checkpoint_steps", &local.checkpoint_steps, kPositive,
                "train: steps between checkpoints");
    options.add(scope, "local.checkpoint_rounds", &local.checkpoint_rounds, kPositive,
                "node: rounds between checkpoints");
    options.add(scope, "local.checkpoint_keep", &local.checkpoint_keep, kPositive,
                "newest checkpoints to keep");
    options.add(scope, "local.checkpoint_keep_every", &local.checkpoint_keep_every, kCount,
                "keep also checkpoints at multiples of so many steps; 0: none");
    options.add(scope, "local.validation_steps", &local.validation_steps, kCount,
                "train: steps between evaluations; 0: only at the end");
    options.add(scope, "local.validation_rounds", &local.validation_rounds, kCount,
                "node: rounds between evaluations; 0: only at the end");
    options.add(scope, "local.validation_batches", &local.validation_batches, kPositive,
                "held-out batches of an evaluation");
    options.add(scope, "local.log_steps", &local.log_steps, kPositive,
                "steps between lines of metrics.jsonl");
    options.add(scope, "local.tensorboard", &local.tensorboard, "write TensorBoard event files");
    options.add(scope, "local.watts_per_thread", &local.watts_per_thread, Range{0, 1000},
                "power of one busy thread, where no energy counter can be read");
    options.add(scope, "local.grid_grams_per_kwh", &local.grid_grams_per_kwh, Range{0, 1500},
                "carbon intensity of the electricity");
    options.add(scope, "local.power_usage_effectiveness", &local.power_usage_effectiveness, Range{1, 5},
                "energy of the whole site over that of its computers");
}

Config::Config() {
    federation::bind(options, run);
    bind(options, local);
}

Result<std::unique_ptr<Config>> load_config(const GlobalFlags& flags, const std::string& file,
                                            const std::vector<Override>& overrides,
                                            const std::function<const char*(const char*)>& environment) {
    auto config = std::make_unique<Config>();
    Options& options = config->options;
    if (!file.empty()) ATOLL_TRY(options.load_file(file));
    ATOLL_TRY(options.load_environment(environment));
    for (const auto& assignment : flags.assignments) ATOLL_TRY(options.set_assignment(assignment, "--set"));
    if (flags.seed) ATOLL_TRY(options.set("run.seed", std::to_string(*flags.seed), "--seed"));
    if (flags.threads) ATOLL_TRY(options.set("local.threads", std::to_string(*flags.threads), "--threads"));
    if (!flags.device.empty()) ATOLL_TRY(options.set("local.device", flags.device, "--device"));
    for (const auto& [key, value, flag, weak] : overrides) {
        if (weak && options.find(key)->origin != "default") continue;
        ATOLL_TRY(options.set(key, value, flag));
    }
    ATOLL_TRY(federation::validate(config->run));
    return config;
}

Result<std::unique_ptr<Config>> load_config(const GlobalFlags& flags,
                                            const std::vector<Override>& overrides) {
    return load_config(flags, flags.config_file, overrides,
                       [](const char* name) -> const char* { return std::getenv(name); });
}

int compute_threads(const LocalConfig& local) {
    if (local.threads > 0) return static_cast<int>(local.threads);
    return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace Atoll::node

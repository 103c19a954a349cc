// atoll-sim: runs a scenario on the simulated network. `atoll sim` executes it; it can be called by itself.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "sims/experiment.h"

namespace {

using namespace Atoll;

constexpr const char* kExamples =
    "Examples:\n"
    "  atoll sim sims/scenario/four_islands.toml\n"
    "  atoll sim sims/scenario/thousand_nodes.toml --timing-only --json\n\n"
    "Runs the algorithms of the network on a simulated one: virtual time, links with bandwidth\n"
    "and latency, machines that are switched off. The same file and seed give the same run.\n";

int fail(const Error& error) {
    fmt::print(stderr, "atoll: {}\n", error.message);
    return exit_code(error.code);
}

Status load(sims::Scenario& scenario, const std::string& file, const std::vector<std::string>& assignments,
            long seed) {
    Options options;
    sims::bind(options, scenario);
    ATOLL_TRY(options.load_file(file));
    for (const auto& assignment : assignments) ATOLL_TRY(options.set_assignment(assignment, "--set"));
    if (seed >= 0) ATOLL_TRY(options.set("run.seed", std::to_string(seed), "--seed"));
    return sims::resolve(scenario);
}

void print_for_a_reader(const nlohmann::json& result) {
    fmt::print("{} nodes, {} rounds, {:.1f} virtual seconds in {:.1f} s\n", result["nodes"].get<int>(),
               result["rounds"].get<int>(), result["virtual_seconds"].get<double>(),
               result["wall_seconds"].get<double>());
    if (!result["timing_only"].get<bool>()) {
        fmt::print("held-out loss {:.4f} -> {:.4f}, consensus distance {:.2e}\n",
                   result["val_loss_start"].get<double>(), result["val_loss"].get<double>(),
                   result["consensus_distance"].get<double>());
    }
    fmt::print("{:.3f} MB sent per node, {:.1f}x less than data-parallel; {} messages lost\ntrace {}\n",
               result["bytes_per_node"].get<double>() / 1e6, result["traffic_ratio"].get<double>(),
               result["messages_lost"].get<long>(), result["trace_hash"].get<std::string>());
}

}  // namespace

int main(int count, char** arguments) {
    std::string file;
    std::string device = "auto";
    std::string config;
    std::vector<std::string> assignments;
    long seed = -1;
    int threads = 1;
    bool json = false;
    bool quiet = false;
    bool verbose = false;
    bool no_color = false;
    sims::ExperimentOptions options;

    CLI::App app(kExamples, "atoll sim");
    app.add_option("file", file, "scenario (TOML)")->type_name("FILE");
    app.add_flag("--timing-only", options.timing_only,
                 "send the same messages, train nothing: for thousands of nodes");
    app.add_option("--trace", options.trace, "write what each node does in virtual time, for ui.perfetto.dev")
        ->type_name("FILE");
    app.add_flag("--json", json, "exactly one JSON object on standard output");
    app.add_flag("-q,--quiet", quiet, "no progress");
    app.add_flag("-v,--verbose", verbose, "say more");
    app.add_flag("--no-color", no_color, "plain text");
    app.add_option("--config", config, "the scenario, if not given as FILE")->type_name("FILE");
    app.add_option("--set", assignments, "key=value, overrides the file (repeatable)")
        ->expected(1)
        ->take_all();
    app.add_option("--seed", seed, "run.seed")->check(CLI::NonNegativeNumber);
    app.add_option("--threads", threads, "threads of the computation")->check(CLI::PositiveNumber);
    app.add_option("--device", device, "the simulated nodes share the CPU")
        ->check(CLI::IsMember({"auto", "cpu"}));
    try {
        app.parse(count, arguments);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : exit_code(ErrorCode::invalid);
    }
    if (file.empty()) file = config;
    if (file.empty())
        return fail({ErrorCode::invalid, "no scenario given: atoll sim FILE (see atoll sim --help)"});
    log::configure(quiet ? log::Level::error : verbose ? log::Level::debug : log::Level::info);
    options.threads = threads;
    options.quiet = quiet;

    sims::Scenario scenario;
    if (const Status status = load(scenario, file, assignments, seed); !status) return fail(status.error());
    const auto result = sims::run_experiment(std::move(scenario), options);
    if (!result) return fail(result.error());
    if (json) {
        fmt::print("{}\n", *result);
    } else {
        print_for_a_reader(nlohmann::json::parse(*result));
    }
    return 0;
}

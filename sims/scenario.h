// A scenario: what is simulated. One TOML file holds the run's own tables (as run.toml) and the tables of the
// simulated world; every key can be overridden with --set.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/result.h"
#include "federation/run_config.h"

namespace Atoll::sims {

// Nodes that share a place: the same access link each, and one latency between them.
struct Site {
    std::string name;
    std::size_t nodes = 0;
    double megabits = 0;      // access link of each node, each way
    double milliseconds = 0;  // one way between two nodes of the site
};

// The path between two sites; all transfers between them share it.
struct Route {
    std::size_t from = 0;  // indices of sites
    std::size_t to = 0;
    double megabits = 0;
    double milliseconds = 0;  // one way, added to half the latency of each site
};

struct Fault {
    double seconds = 0;  // virtual time
    bool on = false;     // switched on again, else off
    std::size_t node = 0;
};

struct Scenario {
    federation::RunConfig run;

    struct Simulation {
        std::string name = "scenario";
        std::string worker = "transformer";  // transformer: trains for real; quadratic: a toy loss
        std::string membership =
            "gossip";  // gossip: the real protocol; oracle: everyone is told after detect_seconds
        double detect_seconds = 5;
        double step_seconds = 0.1;          // virtual time of one inner step
        std::vector<std::string> slow;      // "2 3.5": node 2 takes 3.5 times as long for a step
        std::string data = "builtin";       // folder of token shards, or builtin: generated text
        std::int64_t evaluate_batches = 8;  // held-out batches an evaluation
        double toy_heterogeneity = 0.2;     // how far the quadratics' minima lie apart, against their size
        std::int64_t toy_parameters = 64;   // length of the vector of the quadratic worker
        double seconds_max = 1e7;           // virtual time after which the simulation is stopped
    } simulation;

    struct Network {
        std::vector<std::string> sites = {"home 4 100 10"};  // "name nodes Mb/s ms"
        std::vector<std::string> routes;                     // "site site Mb/s ms"
        double loss = 0;                                     // probability that a message is lost
    } network;

    struct Faults {
        std::vector<std::string> script;  // "12.5 off 3", "40 on 3"
    } faults;

    // Parsed from the texts above by load_scenario().
    std::vector<Site> sites;
    std::vector<Route> routes;
    std::vector<Fault> fault_script;
    std::vector<double> slowness;  // one factor a node

    [[nodiscard]] std::size_t nodes() const;
    // Where a node is: its region, for the topology.
    [[nodiscard]] const Site& site_of(std::size_t node) const;
};

// Binds every key of the file to `scenario`, which outlives `options`.
void bind(Options& options, Scenario& scenario);

// After all keys are set: reads the texts into sites, routes, faults. Errors (invalid) name key and entry.
[[nodiscard]] Status resolve(Scenario& scenario);

}  // namespace Atoll::sims

#include "sims/scenario.h"

#include <fmt/core.h>

#include <limits>
#include <sstream>

#include "gossip/limits.h"

namespace Atoll::sims {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kNodesMax = 20000;

Error bad_entry(const char* key, const std::string& entry, const char* expected) {
    return {ErrorCode::invalid, fmt::format("{}: \"{}\": expected {}", key, entry, expected)};
}

bool at_end(std::istringstream& stream) { return (stream >> std::ws).eof(); }

Result<std::size_t> site_index(const Scenario& scenario, const std::string& name) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < scenario.sites.size(); ++i) {
        if (scenario.sites[i].name == name) return i;
        names.push_back(scenario.sites[i].name);
    }
    const std::string close = nearest(name, names);
    return Error{ErrorCode::invalid, fmt::format("network.routes: unknown site {}{}", name,
                                                 close.empty() ? "" : "; did you mean " + close + "?")};
}

Status resolve_sites(Scenario& scenario) {
    scenario.sites.clear();
    for (const auto& entry : scenario.network.sites) {
        std::istringstream stream(entry);
        Site site;
        if (!(stream >> site.name >> site.nodes >> site.megabits >> site.milliseconds) || !at_end(stream) ||
            site.name.size() > gossip::kRegionBytesMax || site.nodes == 0 || site.nodes > kNodesMax ||
            !(site.megabits > 0) || !(site.milliseconds >= 0)) {
            return bad_entry("network.sites", entry, "\"name nodes Mb/s ms\", as \"europe 2 100 5\"");
        }
        scenario.sites.push_back(std::move(site));
    }
    if (scenario.sites.empty() || scenario.nodes() > kNodesMax) {
        return Error{ErrorCode::invalid, fmt::format("network.sites: {} nodes in all: expected 1 to {}",
                                                     scenario.nodes(), kNodesMax)};
    }
    return {};
}

Status resolve_routes(Scenario& scenario) {
    scenario.routes.clear();
    for (const auto& entry : scenario.network.routes) {
        std::istringstream stream(entry);
        std::string from;
        std::string to;
        Route route;
        if (!(stream >> from >> to >> route.megabits >> route.milliseconds) || !at_end(stream) ||
            from == to || !(route.megabits > 0) || !(route.milliseconds >= 0)) {
            return bad_entry("network.routes", entry, "\"site site Mb/s ms\", as \"europe asia 100 80\"");
        }
        ATOLL_ASSIGN(route.from, site_index(scenario, from));
        ATOLL_ASSIGN(route.to, site_index(scenario, to));
        scenario.routes.push_back(route);
    }
    for (std::size_t a = 0; a < scenario.sites.size(); ++a) {
        for (std::size_t b = a + 1; b < scenario.sites.size(); ++b) {
            int count = 0;
            for (const auto& route : scenario.routes) {
                count += (route.from == a && route.to == b) || (route.from == b && route.to == a) ? 1 : 0;
            }
            if (count != 1) {
                return Error{ErrorCode::invalid,
                             fmt::format("network.routes: {} routes between {} and {}: expected one", count,
                                         scenario.sites[a].name, scenario.sites[b].name)};
            }
        }
    }
    return {};
}

Status resolve_nodes(Scenario& scenario) {
    scenario.fault_script.clear();
    for (const auto& entry : scenario.faults.script) {
        std::istringstream stream(entry);
        Fault fault;
        std::string action;
        if (!(stream >> fault.seconds >> action >> fault.node) || !at_end(stream) || !(fault.seconds >= 0) ||
            (action != "on" && action != "off") || fault.node >= scenario.nodes()) {
            return bad_entry("faults.script", entry,
                             "\"seconds off|on node\" with a node of the scenario, as \"12.5 off 3\"");
        }
        fault.on = action == "on";
        scenario.fault_script.push_back(fault);
    }
    scenario.slowness.assign(scenario.nodes(), 1.0);
    for (const auto& entry : scenario.simulation.slow) {
        std::istringstream stream(entry);
        std::size_t node = 0;
        double factor = 0;
        if (!(stream >> node >> factor) || !at_end(stream) || node >= scenario.nodes() || !(factor > 0)) {
            return bad_entry("simulation.slow", entry,
                             "\"node factor\" with a node of the scenario, as \"2 3.5\"");
        }
        scenario.slowness[node] = factor;
    }
    return {};
}

}  // namespace

std::size_t Scenario::nodes() const {
    std::size_t count = 0;
    for (const auto& site : sites) count += site.nodes;
    return count;
}

const Site& Scenario::site_of(std::size_t node) const {
    std::size_t index = 0;
    for (; node >= sites[index].nodes; ++index) node -= sites[index].nodes;
    return sites[index];
}

void bind(Options& options, Scenario& scenario) {
    federation::bind(options, scenario.run);
    constexpr auto kLocal = Options::Scope::local;
    auto& s = scenario.simulation;
    options.add(kLocal, "simulation.name", &s.name, "name of the scenario, for reports");
    options.add(kLocal, "simulation.worker", &s.worker, OneOf{{"transformer", "quadratic"}},
                "what a node trains: the run's model for real, or a toy loss");
    options.add(kLocal, "simulation.membership", &s.membership, OneOf{{"gossip", "oracle"}},
                "how nodes learn of each other: the real protocol, or being told after detect_seconds");
    options.add(kLocal, "simulation.detect_seconds", &s.detect_seconds, Range{0, kInfinity},
                "virtual seconds until a node that is off counts as gone");
    options.add(kLocal, "simulation.step_seconds", &s.step_seconds, Range{0, kInfinity},
                "virtual seconds of one inner step");
    options.add(kLocal, "simulation.slow", &s.slow, "slower nodes, each \"node factor\"");
    options.add(kLocal, "simulation.data", &s.data, "folder of token shards, or builtin for generated text");
    options.add(kLocal, "simulation.evaluate_batches", &s.evaluate_batches, Range{1, 1e6},
                "held-out batches an evaluation");
    options.add(kLocal, "simulation.toy_parameters", &s.toy_parameters, Range{1, 1e8},
                "length of the quadratic worker's vector");
    options.add(kLocal, "simulation.toy_heterogeneity", &s.toy_heterogeneity, Range{0, kInfinity},
                "how far the minima of the nodes' quadratics lie apart, against their size");
    options.add(kLocal, "simulation.seconds_max", &s.seconds_max, Range{0, 1e12},
                "virtual time at which the simulation is stopped");
    auto& n = scenario.network;
    options.add(kLocal, "network.sites", &n.sites,
                "places, each \"name nodes Mb/s ms\": access link of each node, latency inside");
    options.add(kLocal, "network.routes", &n.routes, "paths between places, each \"site site Mb/s ms\"");
    options.add(kLocal, "network.loss", &n.loss, Range{0, 1}, "probability that a message is lost");
    options.add(kLocal, "faults.script", &scenario.faults.script,
                "nodes switched off and on, each \"seconds off|on node\"");
}

Status resolve(Scenario& scenario) {
    ATOLL_TRY(federation::validate(scenario.run));
    if (!scenario.run.run.initial_model.empty()) {
        return Error{
            ErrorCode::invalid,
            fmt::format("run.initial_model = {}: a simulation begins with parameters drawn from run.seed; "
                        "expected none",
                        scenario.run.run.initial_model)};
    }
    ATOLL_TRY(resolve_sites(scenario));
    ATOLL_TRY(resolve_routes(scenario));
    return resolve_nodes(scenario);
}

}  // namespace Atoll::sims

// One SVG about a mixing schedule: the graph of each round, and how disagreement shrinks under it and under
// every other topology. Self-contained: no script, no external file or font.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gossip/topology/topology.h"

namespace Atoll::node {

struct ConsensusCurve {
    std::string name;
    std::vector<double> errors;  // after each round; all curves of a plot have as many
};

struct TopologyPlot {
    std::string title;
    std::string subtitle;
    const gossip::Topology& topology;
    const gossip::Roster& roster;
    std::size_t rounds = 0;              // whose graphs are drawn
    std::vector<ConsensusCurve> curves;  // the first is the topology's own
};

[[nodiscard]] std::string topology_svg(const TopologyPlot& plot);

}  // namespace Atoll::node

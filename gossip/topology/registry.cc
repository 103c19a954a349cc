#include <algorithm>
#include <array>

#include "gossip/names.h"
#include "gossip/topology/entries.h"

namespace Atoll::gossip {

namespace {

constexpr std::array kTopologies = {
    TopologyEntry{"ring", "every round with both neighbours", "", make_ring},
    TopologyEntry{"full", "everybody with everybody, exact in one round", "", make_full},
    TopologyEntry{"one_peer_exponential", "one peer a round, 2^l members away; exact for powers of two",
                  "Ying et al. 2021; Niwa et al. 2025", make_one_peer_exponential},
};

}  // namespace

std::span<const TopologyEntry> topologies() { return kTopologies; }

Result<std::unique_ptr<Topology>> make_topology(std::string_view name, const TopologyOptions& options) {
    const auto* it = std::ranges::find(kTopologies, name, &TopologyEntry::name);
    if (it == kTopologies.end()) return unknown_name("topology", name, topologies());
    return it->make(options);
}

}  // namespace Atoll::gossip

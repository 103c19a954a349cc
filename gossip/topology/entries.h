// The topologies' makers, for the table in registry.cc.
#pragma once

#include <memory>

#include "gossip/topology/topology.h"

namespace Atoll::gossip {

[[nodiscard]] std::unique_ptr<Topology> make_ring(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_full(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_one_peer_exponential(const TopologyOptions& options);

}  // namespace Atoll::gossip

// The topologies' makers, for the table in registry.cc. The options have been checked.
#pragma once

#include <memory>

#include "gossip/topology/topology.h"

namespace Atoll::gossip {

[[nodiscard]] std::unique_ptr<Topology> make_ring(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_torus(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_full(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_static_exponential(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_one_peer_exponential(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_k_peer_exponential(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_null_cascade(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_base_k(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_random_match(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_hypercube(const TopologyOptions& options);
[[nodiscard]] std::unique_ptr<Topology> make_hierarchical(const TopologyOptions& options);

}  // namespace Atoll::gossip

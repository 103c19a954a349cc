// Symmetric gossip rounds: links without a direction, over which two members give each other the same share
// of their mass. The matrices are symmetric, hence doubly stochastic whatever the degrees.
#pragma once

#include <vector>

#include "gossip/topology/topology.h"

namespace Atoll::gossip {

class SymmetricTopology : public Topology {
  public:
    [[nodiscard]] Exchange exchange(const Roster& roster, std::size_t index,
                                    std::uint64_t round) const override;

  protected:
    // Whom member `index` of n >= 2 exchanges with, each once. Their weights sum to less than one.
    [[nodiscard]] virtual std::vector<Edge> partners(std::size_t n, std::size_t index,
                                                     std::uint64_t round) const = 0;
};

}  // namespace Atoll::gossip

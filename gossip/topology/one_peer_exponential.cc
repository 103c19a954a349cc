// 1-peer exponential graph: in round l half of the mass goes 2^l members away. One message a round; the exact
// mean after log2 n rounds if n is a power of two (Ying et al. 2021; Niwa et al. 2025, definition 2).
#include <bit>

#include "gossip/topology/circulant.h"
#include "gossip/topology/entries.h"

namespace Atoll::gossip {

namespace {

class OnePeerExponential : public CirculantTopology {
  public:
    [[nodiscard]] std::string rules() const override { return "one_peer_exponential"; }
    [[nodiscard]] bool exact(const Roster& roster) const override { return std::has_single_bit(roster.n); }

  protected:
    [[nodiscard]] CirculantSchedule make_schedule(std::size_t n) const override {
        CirculantSchedule rounds;  // ceil(log2 n) of them
        for (std::size_t offset = 1; offset < n; offset *= 2)
            rounds.push_back({{0, 1.0 / 2}, {offset, 1.0 / 2}});
        return rounds;
    }
};

}  // namespace

std::unique_ptr<Topology> make_one_peer_exponential(const TopologyOptions&) {
    return std::make_unique<OnePeerExponential>();
}

}  // namespace Atoll::gossip

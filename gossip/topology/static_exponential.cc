// Static exponential graph: every round with the members 1, 2, 4, .. away, all weights equal (Ying et al.
// 2021).
#include "gossip/topology/circulant.h"
#include "gossip/topology/entries.h"

namespace Atoll::gossip {

namespace {

class StaticExponential : public CirculantTopology {
  public:
    [[nodiscard]] std::string rules() const override { return "static_exponential"; }
    [[nodiscard]] bool exact(const Roster& roster) const override { return roster.n <= 3; }

  protected:
    [[nodiscard]] CirculantSchedule make_schedule(std::size_t n) const override {
        CirculantRound round{{0, 0}};
        for (std::size_t offset = 1; offset < n; offset *= 2) round.push_back({offset, 0});
        for (Tap& tap : round) tap.weight = 1.0 / static_cast<double>(round.size());
        return {round};
    }
};

}  // namespace

std::unique_ptr<Topology> make_static_exponential(const TopologyOptions&) {
    return std::make_unique<StaticExponential>();
}

}  // namespace Atoll::gossip

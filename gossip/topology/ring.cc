// Ring: every round with both neighbours.
#include "gossip/topology/circulant.h"
#include "gossip/topology/entries.h"

namespace Atoll::gossip {

namespace {

class Ring : public CirculantTopology {
  public:
    [[nodiscard]] std::string rules() const override { return "ring"; }
    [[nodiscard]] bool exact(const Roster& roster) const override { return roster.n <= 3; }

  protected:
    [[nodiscard]] CirculantSchedule make_schedule(std::size_t n) const override {
        if (n == 2) return {{{0, 1.0 / 2}, {1, 1.0 / 2}}};  // both neighbours are one
        return {{{0, 1.0 / 3}, {1, 1.0 / 3}, {n - 1, 1.0 / 3}}};
    }
};

}  // namespace

std::unique_ptr<Topology> make_ring(const TopologyOptions&) { return std::make_unique<Ring>(); }

}  // namespace Atoll::gossip

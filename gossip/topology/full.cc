// Full: everybody sends to everybody; the exact mean in one round.
#include "gossip/topology/circulant.h"
#include "gossip/topology/entries.h"

namespace Atoll::gossip {

namespace {

class Full : public CirculantTopology {
  public:
    [[nodiscard]] std::string rules() const override { return "full"; }
    [[nodiscard]] bool exact(const Roster&) const override { return true; }

  protected:
    [[nodiscard]] CirculantSchedule make_schedule(std::size_t n) const override {
        CirculantRound round;
        for (std::size_t offset = 0; offset < n; ++offset)
            round.push_back({offset, 1.0 / static_cast<double>(n)});
        return {round};
    }
};

}  // namespace

std::unique_ptr<Topology> make_full(const TopologyOptions&) { return std::make_unique<Full>(); }

}  // namespace Atoll::gossip

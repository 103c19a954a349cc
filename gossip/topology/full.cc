// Full: everybody sends to everybody; the exact mean in one round.
#include "gossip/topology/circulant.h"
#include "gossip/topology/entries.h"

namespace Atoll::gossip {

namespace {

class Full : public CirculantTopology {
  public:
    [[nodiscard]] std::size_t period(std::size_t n) const override { return n > 1 ? 1 : 0; }

  protected:
    [[nodiscard]] std::vector<Tap> taps(std::size_t n, std::size_t) const override {
        std::vector<Tap> round;
        for (std::size_t offset = 0; offset < n; ++offset)
            round.push_back({offset, 1.0 / static_cast<double>(n)});
        return round;
    }
};

}  // namespace

std::unique_ptr<Topology> make_full(const TopologyOptions&) { return std::make_unique<Full>(); }

}  // namespace Atoll::gossip

// 1-peer exponential graph: in round l half of the mass goes 2^l members away. One message a round; the exact
// mean after log2 n rounds if n is a power of two (Ying et al. 2021; Niwa et al. 2025, definition 2).
#include <bit>

#include "gossip/topology/circulant.h"
#include "gossip/topology/entries.h"

namespace Atoll::gossip {

namespace {

class OnePeerExponential : public CirculantTopology {
  public:
    // ceil(log2 n)
    [[nodiscard]] std::size_t period(std::size_t n) const override {
        return n > 1 ? static_cast<std::size_t>(std::bit_width(n - 1)) : 0;
    }

  protected:
    [[nodiscard]] std::vector<Tap> taps(std::size_t, std::size_t phase) const override {
        return {{0, 1.0 / 2}, {std::size_t{1} << phase, 1.0 / 2}};  // 2^phase < n
    }
};

}  // namespace

std::unique_ptr<Topology> make_one_peer_exponential(const TopologyOptions&) {
    return std::make_unique<OnePeerExponential>();
}

}  // namespace Atoll::gossip

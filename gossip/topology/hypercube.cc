// Hypercube: in round l with the member whose index differs in bit l, half and half. Exact if n is a power of
// two; otherwise who has no partner in a round waits: one message a round at most, symmetric, and connected,
// since clearing a bit always leads to a smaller index.
#include <bit>

#include "gossip/topology/entries.h"
#include "gossip/topology/symmetric.h"

namespace Atoll::gossip {

namespace {

class Hypercube : public SymmetricTopology {
  public:
    [[nodiscard]] std::string rules() const override { return "hypercube"; }
    // ceil(log2 n)
    [[nodiscard]] std::size_t rounds(const Roster& roster) const override {
        return roster.n > 1 ? static_cast<std::size_t>(std::bit_width(roster.n - 1)) : 0;
    }
    [[nodiscard]] bool exact(const Roster& roster) const override { return std::has_single_bit(roster.n); }

  protected:
    [[nodiscard]] std::vector<Edge> partners(std::size_t n, std::size_t index,
                                             std::uint64_t round) const override {
        const std::size_t other = index ^ (std::size_t{1} << (round % rounds(n)));
        if (other >= n) return {};
        return {{other, 1.0 / 2}};
    }
};

}  // namespace

std::unique_ptr<Topology> make_hypercube(const TopologyOptions&) { return std::make_unique<Hypercube>(); }

}  // namespace Atoll::gossip

// Torus: members in a rows x columns grid, as square as the divisors of n allow, closed in both directions;
// every round with the neighbours. A side of two has one neighbour instead of two, a side of one (n prime)
// none: then it is the ring. All weights equal.
#include <algorithm>

#include "gossip/topology/entries.h"
#include "gossip/topology/symmetric.h"

namespace Atoll::gossip {

namespace {

// The largest divisor of n up to its square root.
std::size_t rows_of(std::size_t n) {
    std::size_t rows = 1;
    for (std::size_t divisor = 2; divisor * divisor <= n; ++divisor) {
        if (n % divisor == 0) rows = divisor;
    }
    return rows;
}

class Torus : public SymmetricTopology {
  public:
    [[nodiscard]] std::string rules() const override { return "torus"; }
    [[nodiscard]] std::size_t rounds(const Roster& roster) const override { return roster.n > 1 ? 1 : 0; }
    [[nodiscard]] bool exact(const Roster& roster) const override { return roster.n <= 3; }

  protected:
    [[nodiscard]] std::vector<Edge> partners(std::size_t n, std::size_t index, std::uint64_t) const override {
        const std::size_t rows = rows_of(n);
        const std::size_t columns = n / rows;
        const std::size_t row = index / columns;
        const std::size_t column = index % columns;
        std::vector<Edge> edges;
        const auto meet = [&](std::size_t other) {
            if (other != index && std::ranges::find(edges, other, &Edge::member) == edges.end())
                edges.push_back({other, 0});
        };
        meet((row + 1) % rows * columns + column);
        meet((row + rows - 1) % rows * columns + column);
        meet(row * columns + (column + 1) % columns);
        meet(row * columns + (column + columns - 1) % columns);
        for (Edge& edge : edges) edge.weight = 1.0 / static_cast<double>(edges.size() + 1);
        return edges;
    }
};

}  // namespace

std::unique_ptr<Topology> make_torus(const TopologyOptions&) { return std::make_unique<Torus>(); }

}  // namespace Atoll::gossip

// A topology: who sends what share to whom in each gossip round, as a pure function of (members, round,
// seed). Members compute it independently and must agree bit for bit, so offsets are integers and weights
// come from exact formulas.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace Atoll::gossip {

struct Edge {
    std::size_t member = 0;  // index in the view
    double weight = 0;
};

// One member's part in one gossip round: it keeps `keep` of its mass and sends the rest; keep + sum of send
// weights = 1.
struct Exchange {
    double keep = 1;
    std::vector<Edge> send;
    std::vector<Edge> receive;  // from whom, and what share of theirs
};

class Topology {
  public:
    virtual ~Topology() = default;
    // Gossip rounds in one period for n members. For an exact topology: after that many every member holds
    // the mean.
    [[nodiscard]] virtual std::size_t period(std::size_t n) const = 0;
    [[nodiscard]] virtual bool exact(std::size_t n) const = 0;
    // Member `index` of n in gossip round `round` (counted without end; the schedule repeats or is drawn
    // anew).
    [[nodiscard]] virtual Exchange exchange(std::size_t n, std::size_t index, std::uint64_t round) const = 0;
};

struct TopologyOptions {
    std::int64_t degree = 1;  // k: peers a round
    std::uint64_t seed = 0;
};

struct TopologyEntry {
    std::string_view name;
    std::string_view summary;
    std::string_view source;
    std::unique_ptr<Topology> (*make)(const TopologyOptions&);
};

[[nodiscard]] std::span<const TopologyEntry> topologies();
[[nodiscard]] Result<std::unique_ptr<Topology>> make_topology(std::string_view name,
                                                              const TopologyOptions& options);

}  // namespace Atoll::gossip

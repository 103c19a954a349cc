// A topology: who sends what share to whom in each gossip round, as a pure function of (members, round,
// seed). Members compute it independently and must agree bit for bit, so offsets are integers and weights
// come from exact formulas; a digest of the schedule travels with every share (gossip/topology/digest.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "gossip/topology/roster.h"

namespace Atoll::gossip {

struct Edge {
    std::size_t member = 0;  // index in the view
    double weight = 0;
};

// One member's part in one gossip round: it keeps `keep` of its mass and sends the rest; keep + sum of send
// weights = 1.
struct Exchange {
    double keep = 1;
    std::vector<Edge> send;     // in ascending order of members, each once
    std::vector<Edge> receive;  // from whom, and what share of theirs; in the same order
};

class Topology {
  public:
    virtual ~Topology() = default;
    // Name and every option that the schedule depends on, in words: "k_peer_exponential degree=2
    // rounding=ceil".
    [[nodiscard]] virtual std::string rules() const = 0;
    // Gossip rounds that one averaging takes unless told otherwise; 0 if there is nobody to exchange with.
    [[nodiscard]] virtual std::size_t rounds(const Roster& roster) const = 0;
    // Gossip rounds after which the schedule repeats, a multiple of rounds(); 0: never, it is drawn anew.
    [[nodiscard]] virtual std::size_t period(const Roster& roster) const { return rounds(roster); }
    // Whether every member holds the mean of all after any period.
    [[nodiscard]] virtual bool exact(const Roster& roster) const = 0;
    // Member `index` in gossip round `round` (counted without end).
    [[nodiscard]] virtual Exchange exchange(const Roster& roster, std::size_t index,
                                            std::uint64_t round) const = 0;
    // Feeds everything that the rounds of a period (of rounds(), if there is none) are made of.
    virtual void hash_schedule(const Roster& roster, HashStream& stream) const;
};

struct TopologyOptions {
    std::int64_t degree = 1;    // k: peers a round, for those that let one choose
    std::uint64_t seed = 0;     // random_match
    bool rounding_up = true;    // k_peer_exponential: ceil instead of the paper's floor
    bool reordered = true;      // null_cascade: fast rounds first, instead of the paper's order
    std::int64_t interval = 1;  // hierarchical: averagings from one exchange across regions to the next
};

struct TopologyEntry {
    std::string_view name;
    std::string_view summary;
    std::string_view source;
    std::unique_ptr<Topology> (*make)(const TopologyOptions&);
    // Bounds of TopologyOptions::degree; 0 and 0: the topology has its own and does not ask.
    std::int64_t degree_min = 0;
    std::int64_t degree_max = 0;
};

inline constexpr std::int64_t kDegreeMax = 63;

[[nodiscard]] std::span<const TopologyEntry> topologies();
// "2 to 63", for messages. Precondition: the topology asks for a degree.
[[nodiscard]] std::string degree_bounds(const TopologyEntry& entry);
// Errors (invalid): an unknown name, with the nearest known one; options out of bounds.
[[nodiscard]] Status check_options(const TopologyEntry& entry, const TopologyOptions& options);
[[nodiscard]] Result<std::unique_ptr<Topology>> make_topology(std::string_view name,
                                                              const TopologyOptions& options);

}  // namespace Atoll::gossip

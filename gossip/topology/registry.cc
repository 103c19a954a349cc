#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "gossip/names.h"
#include "gossip/topology/entries.h"

namespace Atoll::gossip {

namespace {

constexpr std::array kTopologies = {
    TopologyEntry{"ring", "every round with both neighbours", "", make_ring},
    TopologyEntry{"torus", "every round with the four neighbours on a torus as square as possible", "",
                  make_torus},
    TopologyEntry{"full", "everybody with everybody, exact in one round", "", make_full},
    TopologyEntry{"static_exponential", "every round with the members 1, 2, 4, .. away", "Ying et al. 2021",
                  make_static_exponential},
    TopologyEntry{"one_peer_exponential", "one peer a round, 2^l members away; exact for powers of two",
                  "Ying et al. 2021; Niwa et al. 2025", make_one_peer_exponential, 1, 1},
    TopologyEntry{"k_peer_exponential", "k peers a round, multiples of (k+1)^l away; exact for powers of k+1",
                  "Niwa et al. 2025", make_k_peer_exponential, 1, kDegreeMax},
    TopologyEntry{"null_cascade", "k >= 2 peers a round; exact for any number of members, in any order",
                  "Niwa et al. 2025", make_null_cascade, 2, kDegreeMax},
    TopologyEntry{"base_k", "at most k peers a round; exact for any number of members",
                  "Takezawa et al. 2023", make_base_k, 1, kDegreeMax},
    TopologyEntry{"random_match", "pairs drawn at random for every round", "Kolehmainen et al. 2025 (NoLoCo)",
                  make_random_match},
    TopologyEntry{"hypercube", "one peer a round, across one bit of the index; exact for powers of two", "",
                  make_hypercube},
    TopologyEntry{"hierarchical", "exact within regions in every averaging, across them in every R-th", "",
                  make_hierarchical},
};

}  // namespace

std::span<const TopologyEntry> topologies() { return kTopologies; }

std::string degree_bounds(const TopologyEntry& entry) {
    if (entry.degree_min == entry.degree_max) return fmt::format("{}", entry.degree_min);
    return fmt::format("{} to {}", entry.degree_min, entry.degree_max);
}

Status check_options(const TopologyEntry& entry, const TopologyOptions& options) {
    const bool asks = entry.degree_max > 0;
    if (asks && (options.degree < entry.degree_min || options.degree > entry.degree_max)) {
        return Error{ErrorCode::invalid, fmt::format("topology {} with degree {}: expected {}", entry.name,
                                                     options.degree, degree_bounds(entry))};
    }
    if (options.interval < 1) {
        return Error{ErrorCode::invalid, fmt::format("topology {} with interval {}: expected at least 1",
                                                     entry.name, options.interval)};
    }
    return {};
}

Result<std::unique_ptr<Topology>> make_topology(std::string_view name, const TopologyOptions& options) {
    const auto* it = std::ranges::find(kTopologies, name, &TopologyEntry::name);
    if (it == kTopologies.end()) return unknown_name("topology", name, topologies());
    ATOLL_TRY(check_options(*it, options));
    return it->make(options);
}

}  // namespace Atoll::gossip

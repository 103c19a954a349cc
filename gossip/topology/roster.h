// The members of a view, as far as a schedule depends on them: how many there are, and who shares a region
// with whom. Members are known by their place in the view's order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gossip/view.h"

namespace Atoll::gossip {

struct Roster {
    std::size_t n = 0;
    // Of each member, numbered in the order in which the members come to them; empty: all in one region.
    std::vector<std::uint32_t> regions;

    Roster(std::size_t members) : n(members) {}  // NOLINT(google-explicit-constructor)
    Roster(const View& view);                    // NOLINT(google-explicit-constructor)
    // `count` members of region 0, then those of region 1, and so on.
    [[nodiscard]] static Roster of_sizes(const std::vector<std::size_t>& sizes);

    // The members of each region, in order; with `regions` empty, everybody.
    [[nodiscard]] std::vector<std::vector<std::size_t>> members_by_region() const;

    [[nodiscard]] bool operator==(const Roster&) const = default;
};

}  // namespace Atoll::gossip

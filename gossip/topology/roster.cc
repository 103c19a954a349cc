#include "gossip/topology/roster.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string_view>

#include "base/check.h"

namespace Atoll::gossip {

Roster::Roster(const View& view) : n(view.size()) {
    if (view.regions.empty()) return;
    ATOLL_CHECK(view.regions.size() == n);
    std::map<std::string_view, std::uint32_t> numbers;
    for (const std::string& label : view.regions) {
        const auto next = static_cast<std::uint32_t>(numbers.size());
        regions.push_back(numbers.try_emplace(label, next).first->second);
    }
    if (numbers.size() < 2) regions.clear();
}

Roster Roster::of_sizes(const std::vector<std::size_t>& sizes) {
    Roster roster(std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}));
    std::uint32_t region = 0;
    for (const std::size_t size : sizes) {
        ATOLL_CHECK(size > 0);
        roster.regions.insert(roster.regions.end(), size, region++);
    }
    if (sizes.size() < 2) roster.regions.clear();
    return roster;
}

std::vector<std::vector<std::size_t>> Roster::members_by_region() const {
    const std::size_t count = regions.empty() ? 1 : std::size_t{1} + *std::ranges::max_element(regions);
    std::vector<std::vector<std::size_t>> members(count);
    for (std::size_t i = 0; i < n; ++i) members[regions.empty() ? 0 : regions[i]].push_back(i);
    return members;
}

}  // namespace Atoll::gossip

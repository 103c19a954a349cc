#include "gossip/view.h"

#include <algorithm>

namespace Atoll::gossip {

std::optional<std::size_t> View::index_of(const PeerId& peer) const {
    const auto it = std::lower_bound(members.begin(), members.end(), peer);
    if (it == members.end() || *it != peer) return std::nullopt;
    return static_cast<std::size_t>(it - members.begin());
}

Standing View::standing(std::size_t index) const {
    return standings.empty() ? Standing::founder : standings[index];
}

std::optional<PeerId> server_of(const View& view, std::string_view chosen) {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < view.size(); ++i) {
        if (!chosen.empty()) {
            if (view.members[i].text().starts_with(chosen)) return view.members[i];
        } else if (view.standing(i) != Standing::client &&
                   (!best || view.standing(i) < view.standing(*best))) {
            best = i;
        }
    }
    if (!best) return std::nullopt;
    return view.members[*best];
}

}  // namespace Atoll::gossip

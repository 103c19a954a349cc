#include "gossip/view.h"

#include <algorithm>

namespace Atoll::gossip {

std::optional<std::size_t> View::index_of(const PeerId& peer) const {
    const auto it = std::lower_bound(members.begin(), members.end(), peer);
    if (it == members.end() || *it != peer) return std::nullopt;
    return static_cast<std::size_t>(it - members.begin());
}

}  // namespace Atoll::gossip

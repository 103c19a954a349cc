// The view: an ordered list of the members believed alive, with an epoch number. A value; a topology maps
// (view, round) to who sends what weight to whom. Views of different members may differ for a while.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gossip/peer_id.h"

namespace Atoll::gossip {

struct View {
    std::uint64_t epoch = 0;                // rises by one whenever `members` changes, locally
    std::vector<PeerId> members;            // sorted, without duplicates; contains the owner of the view
    std::vector<std::string> regions = {};  // of each member, its label; empty: nobody has one
    std::string reason;  // why it last changed, in words ("3f2a9c01 has not been heard of for 5.0 s")

    [[nodiscard]] std::size_t size() const { return members.size(); }
    // Index of a member in the order, nothing if absent.
    [[nodiscard]] std::optional<std::size_t> index_of(const PeerId& peer) const;
};

}  // namespace Atoll::gossip

// The view: an ordered list of the members believed alive, with an epoch number. A value; a topology maps
// (view, round) to who sends what weight to whom. Views of different members may differ for a while.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gossip/peer_id.h"

namespace Atoll::gossip {

// By what right a member is here; who serves is chosen among those with the best.
enum class Standing : std::uint8_t {
    founder,  // certified by the run's owner itself
    peer,     // by an invite
    client,   // by an invite for a client: never serves
};

struct View {
    std::uint64_t epoch = 0;                // rises by one whenever `members` changes, locally
    std::vector<PeerId> members;            // sorted, without duplicates; contains the owner of the view
    std::vector<std::string> regions = {};  // of each member, its label; empty: nobody has one
    std::vector<Standing> standings = {};   // of each member; empty: all are founders
    std::string reason;  // why it last changed, in words ("3f2a9c01 has not been heard of for 5.0 s")

    [[nodiscard]] std::size_t size() const { return members.size(); }
    // Index of a member in the order, nothing if absent.
    [[nodiscard]] std::optional<std::size_t> index_of(const PeerId& peer) const;
    // Founder if `standings` is empty. Precondition: index < size().
    [[nodiscard]] Standing standing(std::size_t index) const;
};

// The member around which the others meet: the one whose identity begins with `chosen` (hexadecimal digits),
// or, if that is empty, the first of the best standing. Nothing: it is not there, or all are clients.
[[nodiscard]] std::optional<PeerId> server_of(const View& view, std::string_view chosen);

}  // namespace Atoll::gossip

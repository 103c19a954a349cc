// What members tell each other about the schedule they follow, with every share they send.
//
// Views differ for a while when members come and go, and schedules with them: push-sum stays correct. But two
// members that see the same members must follow the same schedule, and all must follow the same rules. The
// digest therefore has three parts: of the rules (name and options), of the members (keys and regions), and
// of the schedule itself (offsets or members, weights to 1e-9). It finds members that disagree; it is no
// proof of honesty, so parts of 64 bits do.
#pragma once

#include <cstdint>
#include <string>

#include "base/hash.h"
#include "gossip/topology/topology.h"
#include "gossip/view.h"

namespace Atoll::gossip {

// Rules in bytes 0..7, members in 8..15, schedule in 16..31.
[[nodiscard]] Hash schedule_digest(const Topology& topology, const View& view);

// Why a share that was sent under `theirs` is not acceptable to a member with `ours`, in words; empty if it
// is: the same schedule, or the same rules for other members.
[[nodiscard]] std::string schedule_objection(const Hash& ours, const Hash& theirs);

// Building blocks of Topology::hash_schedule: little-endian 64 bits; the weight in units of 1e-9.
void hash_integer(HashStream& stream, std::uint64_t value);
void hash_weight(HashStream& stream, double weight);

}  // namespace Atoll::gossip

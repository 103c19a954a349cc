#include "gossip/topology/digest.h"

#include <algorithm>
#include <cmath>

namespace Atoll::gossip {

namespace {

constexpr std::size_t kMembersAt = 8;
constexpr std::size_t kScheduleAt = 16;

bool same(const Hash& a, const Hash& b, std::size_t begin, std::size_t end) {
    return std::equal(a.begin() + static_cast<std::ptrdiff_t>(begin),
                      a.begin() + static_cast<std::ptrdiff_t>(end),
                      b.begin() + static_cast<std::ptrdiff_t>(begin));
}

}  // namespace

void hash_integer(HashStream& stream, std::uint64_t value) {
    std::array<std::byte, 8> bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<std::byte>((value >> (8 * i)) & 0xffU);
    stream.update(bytes);
}

void hash_weight(HashStream& stream, double weight) {
    hash_integer(stream, static_cast<std::uint64_t>(std::llround(weight * 1e9)));
}

Hash schedule_digest(const Topology& topology, const View& view) {
    const Roster roster(view);
    const std::string rules = topology.rules();
    HashStream members;
    for (const PeerId& peer : view.members) members.update(ByteView(peer.key));
    for (const std::uint32_t region : roster.regions) hash_integer(members, region);
    HashStream schedule;
    schedule.update(as_byte_view(rules));
    hash_integer(schedule, roster.n);
    topology.hash_schedule(roster, schedule);

    Hash digest = blake2b(as_byte_view(rules));
    const Hash of_members = members.finish();
    const Hash of_schedule = schedule.finish();
    std::copy_n(of_members.begin(), kScheduleAt - kMembersAt, digest.begin() + kMembersAt);
    std::copy_n(of_schedule.begin(), digest.size() - kScheduleAt, digest.begin() + kScheduleAt);
    return digest;
}

std::string schedule_objection(const Hash& ours, const Hash& theirs) {
    if (!same(ours, theirs, 0, kMembersAt)) return "its topology has another name or other options than ours";
    if (same(ours, theirs, kMembersAt, kScheduleAt) && !same(ours, theirs, kScheduleAt, ours.size()))
        return "its schedule for the same members differs from ours";
    return {};
}

}  // namespace Atoll::gossip

#include "gossip/topology/topology.h"

#include "gossip/topology/digest.h"

namespace Atoll::gossip {

void Topology::hash_schedule(const Roster& roster, HashStream& stream) const {
    const std::size_t count = period(roster) > 0 ? period(roster) : rounds(roster);
    for (std::size_t round = 0; round < count; ++round) {
        for (std::size_t member = 0; member < roster.n; ++member) {
            const Exchange mine = exchange(roster, member, round);
            hash_integer(stream, mine.send.size());
            for (const Edge& edge : mine.send) {
                hash_integer(stream, edge.member);
                hash_weight(stream, edge.weight);
            }
        }
    }
}

}  // namespace Atoll::gossip

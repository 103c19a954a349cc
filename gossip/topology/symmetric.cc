#include "gossip/topology/symmetric.h"

#include <algorithm>

#include "base/check.h"

namespace Atoll::gossip {

Exchange SymmetricTopology::exchange(const Roster& roster, std::size_t index, std::uint64_t round) const {
    ATOLL_CHECK(index < roster.n);
    Exchange exchange;
    if (roster.n < 2) return exchange;
    exchange.send = partners(roster.n, index, round);
    for (const Edge& edge : exchange.send) exchange.keep -= edge.weight;
    std::ranges::sort(exchange.send, {}, &Edge::member);
    exchange.receive = exchange.send;
    return exchange;
}

}  // namespace Atoll::gossip

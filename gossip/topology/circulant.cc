#include "gossip/topology/circulant.h"

#include <algorithm>

#include "base/check.h"
#include "gossip/topology/digest.h"

namespace Atoll::gossip {

std::shared_ptr<const CirculantSchedule> CirculantTopology::schedule(std::size_t n) const {
    return latest_.get(n, [&] { return n > 1 ? make_schedule(n) : CirculantSchedule{}; });
}

std::size_t CirculantTopology::rounds(const Roster& roster) const { return schedule(roster.n)->size(); }

Exchange CirculantTopology::exchange(const Roster& roster, std::size_t index, std::uint64_t round) const {
    const std::size_t n = roster.n;
    ATOLL_CHECK(index < n);
    const auto rounds = schedule(n);
    if (rounds->empty()) return {};
    Exchange exchange{.keep = 0, .send = {}, .receive = {}};
    for (const Tap& tap : (*rounds)[static_cast<std::size_t>(round % rounds->size())]) {
        if (tap.offset == 0) {
            exchange.keep = tap.weight;
        } else {
            exchange.send.push_back({(index + n - tap.offset) % n, tap.weight});
            exchange.receive.push_back({(index + tap.offset) % n, tap.weight});
        }
    }
    std::ranges::sort(exchange.send, {}, &Edge::member);
    std::ranges::sort(exchange.receive, {}, &Edge::member);
    return exchange;
}

void CirculantTopology::hash_schedule(const Roster& roster, HashStream& stream) const {
    for (const CirculantRound& round : *schedule(roster.n)) {
        hash_integer(stream, round.size());
        for (const Tap& tap : round) {
            hash_integer(stream, tap.offset);
            hash_weight(stream, tap.weight);
        }
    }
}

CirculantRound equal_taps(std::size_t n, std::size_t count, std::size_t stride) {
    CirculantRound round;
    const double weight = 1.0 / static_cast<double>(count);
    for (std::size_t j = 0; j < count; ++j) {
        const std::size_t offset = j * stride % n;
        const auto known = std::ranges::find(round, offset, &Tap::offset);
        if (known == round.end()) {
            round.push_back({offset, weight});
        } else {
            known->weight += weight;
        }
    }
    return round;
}

}  // namespace Atoll::gossip

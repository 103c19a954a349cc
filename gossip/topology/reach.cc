#include "gossip/topology/reach.h"

#include <algorithm>
#include <bit>
#include <vector>

namespace Atoll::gossip {

std::size_t stages_until_all_heard(const Topology& topology, const Roster& roster, std::uint64_t first) {
    const std::size_t n = roster.n;
    const std::size_t at_least = std::max<std::size_t>(topology.rounds(roster), 1);
    if (n < 2) return at_least;
    const std::size_t words = (n + 63) / 64;
    std::vector<std::uint64_t> heard(n * words, 0);  // bit j of row i: i has heard from j
    for (std::size_t i = 0; i < n; ++i) heard[i * words + i / 64] |= std::uint64_t{1} << (i % 64);
    const auto all_heard = [&] {
        std::size_t bits = 0;
        for (const std::uint64_t word : heard) bits += static_cast<std::size_t>(std::popcount(word));
        return bits == n * n;
    };
    const std::size_t at_most = n * std::max(at_least, topology.period(roster));
    std::size_t stage = 0;
    for (; stage < at_most && (stage < at_least || !all_heard()); ++stage) {
        const std::vector<std::uint64_t> before = heard;
        for (std::size_t i = 0; i < n; ++i) {
            for (const Edge& edge : topology.exchange(roster, i, first + stage).send) {
                for (std::size_t w = 0; w < words; ++w)
                    heard[edge.member * words + w] |= before[i * words + w];
            }
        }
    }
    return stage;
}

}  // namespace Atoll::gossip

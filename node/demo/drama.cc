#include "node/demo/drama.h"

#include <algorithm>

namespace Atoll::node {

namespace {

constexpr double kGoneSecondsMax =
    15;  // others may be waiting for it, if all depend on it: then they need it back

std::uint64_t furthest_other(const std::vector<DemoNode>& nodes, std::size_t victim) {
    std::uint64_t round = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (i != victim) round = std::max(round, nodes[i].round);
    }
    return round;
}

}  // namespace

Drama::Act Drama::next(const std::vector<DemoNode>& nodes, double now) {
    if (killed_at_ < 0) {
        const std::uint64_t rounds = std::max<std::uint64_t>(1, rounds_ * 2 / 5);
        if (!nodes[victim_].running || nodes[victim_].saved_step < rounds * inner_steps_) return Act::nothing;
        killed_at_ = now;
        others_at_kill_ = furthest_other(nodes, victim_);
        return Act::kill;
    }
    if (restarted_) return Act::nothing;
    if (furthest_other(nodes, victim_) <= others_at_kill_ && now - killed_at_ < kGoneSecondsMax)
        return Act::nothing;
    restarted_ = true;
    return Act::restart;
}

Recovery judge_recovery(const std::vector<std::vector<DemoRound>>& rounds, std::size_t victim,
                        double killed_at, double returned_at) {
    Recovery recovery;
    if (killed_at <= 0) return recovery;
    recovery.killed = true;
    for (const DemoRound& own : rounds[victim]) {
        if (own.unix_time <= killed_at) recovery.round_at_kill = std::max(recovery.round_at_kill, own.round);
    }
    const auto others = [&](const auto& holds) {
        for (std::size_t i = 0; i < rounds.size(); ++i) {
            if (i != victim && std::any_of(rounds[i].begin(), rounds[i].end(), holds)) return true;
        }
        return false;
    };
    recovery.others_went_on = others([&](const DemoRound& round) {
        return round.unix_time > killed_at && round.round > recovery.round_at_kill &&
               (returned_at <= 0 || round.unix_time < returned_at);
    });
    if (returned_at <= 0) return recovery;
    for (const DemoRound& own : rounds[victim]) {
        if (own.unix_time <= returned_at) continue;
        if (recovery.round_at_return == 0) recovery.round_at_return = own.round;
        // A round is complete for a member when every share it expected came; with all members in its view
        // the victim's was among them.
        recovery.recovered =
            recovery.recovered || others([&](const DemoRound& other) {
                return other.round == own.round && other.complete && other.members == rounds.size();
            });
    }
    return recovery;
}

}  // namespace Atoll::node

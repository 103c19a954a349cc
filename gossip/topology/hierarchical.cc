// Hierarchical: regions of members that are near each other (View::regions), far from the others. An
// averaging has three rounds:
//
//   inside   everybody in a region with everybody in it: each holds the region's mean
//   across   mass flows between every two regions q and r, s_q s_r / n of it each way (s members in a region)
//   inside   again: each holds the mean of all
//
// and only every `interval`-th averaging goes across; the others end after the first round. Region r then has
// s_q s_r / n of the mass of every q, which is the mean of all with s_r as its weight: exact, whatever the
// sizes. A member has a mass of one, so the flow takes a number of members, the region's representatives: the
// first few, each of which keeps some of its mass. They give in turn to the regions that follow their own, in
// turn to the members there. Across, the matrices are column-stochastic; rows too if all sizes are equal
// (push-sum's weights care for the rest).
//
// One region, or members without labels: one round, everybody with everybody.
#include <fmt/core.h>

#include <algorithm>

#include "base/check.h"
#include "gossip/topology/digest.h"
#include "gossip/topology/entries.h"
#include "gossip/topology/latest.h"

namespace Atoll::gossip {

namespace {

constexpr std::size_t kRounds = 3;

struct Layout {
    std::vector<std::vector<std::size_t>> regions;  // members of each
    std::vector<Exchange> across;                   // of each member
};

// Cuts what each region gives along a line: the regions to give to on one side, the representatives on the
// other. Lengths are integers, in units of mass / n.
Layout make_layout(const Roster& roster) {
    Layout layout{roster.members_by_region(), std::vector<Exchange>(roster.n)};
    const std::size_t n = roster.n;
    const std::size_t count = layout.regions.size();
    if (count < 2) return layout;
    std::vector<std::size_t> next_receiver(count, 0);
    for (std::size_t from = 0; from < count; ++from) {
        const auto& givers = layout.regions[from];
        const std::size_t total = givers.size() * (n - givers.size());
        // n - 1 units of a giver's n at most: whoever gave everything away would have nothing to average.
        const std::size_t representatives = (total + n - 2) / (n - 1);
        const std::size_t each = (total + representatives - 1) / representatives;
        std::vector<std::size_t> given(givers.size(), 0);
        std::size_t giver = 0;
        for (std::size_t step = 1; step < count; ++step) {
            const std::size_t to = (from + step) % count;
            const auto& receivers = layout.regions[to];
            std::size_t rest = givers.size() * receivers.size();
            while (rest > 0) {
                if (given[giver] == each) ++giver;
                const std::size_t units = std::min(rest, each - given[giver]);
                const std::size_t receiver = receivers[next_receiver[to]++ % receivers.size()];
                const double weight = static_cast<double>(units) / static_cast<double>(n);
                layout.across[givers[giver]].send.push_back({receiver, weight});
                layout.across[receiver].receive.push_back({givers[giver], weight});
                given[giver] += units;
                rest -= units;
            }
        }
        for (std::size_t i = 0; i < givers.size(); ++i)
            layout.across[givers[i]].keep = static_cast<double>(n - given[i]) / static_cast<double>(n);
    }
    for (Exchange& exchange : layout.across) {
        std::ranges::sort(exchange.send, {}, &Edge::member);
        std::ranges::sort(exchange.receive, {}, &Edge::member);
    }
    return layout;
}

class Hierarchical : public Topology {
  public:
    explicit Hierarchical(std::size_t interval) : interval_(interval) {}

    [[nodiscard]] std::string rules() const override {
        return fmt::format("hierarchical interval={}", interval_);
    }
    [[nodiscard]] std::size_t rounds(const Roster& roster) const override {
        if (roster.n < 2) return 0;
        return layout(roster)->regions.size() > 1 ? kRounds : 1;
    }
    [[nodiscard]] std::size_t period(const Roster& roster) const override {
        return rounds(roster) == kRounds ? kRounds * interval_ : rounds(roster);
    }
    [[nodiscard]] bool exact(const Roster&) const override { return true; }

    [[nodiscard]] Exchange exchange(const Roster& roster, std::size_t index,
                                    std::uint64_t round) const override {
        ATOLL_CHECK(index < roster.n);
        const auto layout_now = layout(roster);
        const std::uint64_t stage = layout_now->regions.size() > 1 ? round % kRounds : 0;
        if (stage > 0 && (round / kRounds + 1) % interval_ != 0) return {};
        if (stage == 1) return layout_now->across[index];
        return inside(layout_now->regions[roster.regions.empty() ? 0 : roster.regions[index]], index);
    }

    // What happens inside a region follows from who is in it.
    void hash_schedule(const Roster& roster, HashStream& stream) const override {
        const auto layout_now = layout(roster);
        for (const auto& region : layout_now->regions) {
            hash_integer(stream, region.size());
            for (const std::size_t member : region) hash_integer(stream, member);
        }
        for (const Exchange& exchange : layout_now->across) {
            hash_integer(stream, exchange.send.size());
            for (const Edge& edge : exchange.send) {
                hash_integer(stream, edge.member);
                hash_weight(stream, edge.weight);
            }
        }
    }

  private:
    [[nodiscard]] std::shared_ptr<const Layout> layout(const Roster& roster) const {
        return latest_.get(roster, [&] { return make_layout(roster); });
    }

    static Exchange inside(const std::vector<std::size_t>& region, std::size_t index) {
        const double weight = 1.0 / static_cast<double>(region.size());
        Exchange exchange{.keep = weight, .send = {}, .receive = {}};
        for (const std::size_t member : region) {
            if (member != index) exchange.send.push_back({member, weight});
        }
        exchange.receive = exchange.send;
        return exchange;
    }

    std::size_t interval_;
    Latest<Roster, Layout> latest_;
};

}  // namespace

std::unique_ptr<Topology> make_hierarchical(const TopologyOptions& options) {
    return std::make_unique<Hierarchical>(static_cast<std::size_t>(options.interval));
}

}  // namespace Atoll::gossip

// Hierarchical: regions of members that are near each other (View::regions), far from the others. An
// averaging has three rounds:
//
//   inside   everybody in a region with everybody in it: each holds the region's mean
//   across   every two regions q and r exchange s_q s_r / n of their mass (s members in a region, n in all)
//   inside   again: each holds the mean of all
//
// and only every `interval`-th averaging goes across; the others end after the first round. Region r then has
// s_q s_r / n of the mass of every q, which is the mean of all with s_r as its weight: exact, whatever the
// sizes. A member has a mass of one, so it takes a number of members, the region's representatives: the first
// few, each of which keeps some of its mass and meets one or a few representatives of other regions. All
// links are symmetric.
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

// What is left to give of a region's representatives, in units of mass / n.
class Representatives {
  public:
    Representatives(const std::vector<std::size_t>& region, std::size_t n) : region_(region) {
        const std::size_t total = region.size() * (n - region.size());
        // n - 1 of a member's n units at most: whoever gave everything away would have nothing to average.
        const std::size_t count = (total + n - 2) / (n - 1);
        each_ = (total + count - 1) / count;
        left_ = each_;
    }
    [[nodiscard]] std::size_t member() const { return region_[index_]; }
    [[nodiscard]] std::size_t left() const { return left_; }
    void give(std::size_t units) {
        left_ -= units;
        if (left_ > 0 || index_ + 1 == region_.size()) return;
        ++index_;
        left_ = each_;
    }

  private:
    const std::vector<std::size_t>& region_;
    std::size_t index_ = 0;
    std::size_t each_ = 0;
    std::size_t left_ = 0;
};

// Pairs of regions in order; in each the representatives that have something left, first come first served.
Layout make_layout(const Roster& roster) {
    Layout layout{roster.members_by_region(), std::vector<Exchange>(roster.n)};
    const auto& regions = layout.regions;
    if (regions.size() < 2) return layout;
    std::vector<Representatives> representatives;
    for (const auto& region : regions) representatives.emplace_back(region, roster.n);
    for (std::size_t q = 0; q < regions.size(); ++q) {
        for (std::size_t r = q + 1; r < regions.size(); ++r) {
            for (std::size_t rest = regions[q].size() * regions[r].size(); rest > 0;) {
                Representatives& a = representatives[q];
                Representatives& b = representatives[r];
                const std::size_t units = std::min({rest, a.left(), b.left()});
                const double weight = static_cast<double>(units) / static_cast<double>(roster.n);
                layout.across[a.member()].send.push_back({b.member(), weight});
                layout.across[b.member()].send.push_back({a.member(), weight});
                a.give(units);
                b.give(units);
                rest -= units;
            }
        }
    }
    for (Exchange& exchange : layout.across) {
        for (const Edge& edge : exchange.send) exchange.keep -= edge.weight;
        std::ranges::sort(exchange.send, {}, &Edge::member);
        exchange.receive = exchange.send;
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

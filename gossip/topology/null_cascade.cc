// Null-cascade graph (Niwa et al. 2025): at most k peers a round, k >= 2, the same number for everybody, and
// the exact mean for every n. Circulant, so the rounds of a period may be taken in any order and from any
// start. In the paper's order a large prime factor mixes slowly until the very last round; by default the
// rounds that mix fastest come first.
#include <fmt/core.h>

#include "gossip/topology/circulant.h"
#include "gossip/topology/entries.h"
#include "gossip/topology/fast_first.h"
#include "gossip/topology/null_filters.h"

namespace Atoll::gossip {

namespace {

class NullCascade : public CirculantTopology {
  public:
    NullCascade(std::size_t degree, bool reordered) : degree_(degree), reordered_(reordered) {}

    [[nodiscard]] std::string rules() const override {
        return fmt::format("null_cascade degree={} order={}", degree_, reordered_ ? "reordered" : "paper");
    }
    [[nodiscard]] bool exact(const Roster&) const override { return true; }

  protected:
    [[nodiscard]] CirculantSchedule make_schedule(std::size_t n) const override {
        std::vector<RoundShapes> rounds = null_filters(n, degree_);
        if (reordered_) return fast_first(n, std::move(rounds));
        CirculantSchedule schedule;
        for (RoundShapes& shapes : rounds) schedule.push_back(std::move(shapes.front()));
        return schedule;
    }

  private:
    std::size_t degree_;
    bool reordered_;
};

}  // namespace

std::unique_ptr<Topology> make_null_cascade(const TopologyOptions& options) {
    return std::make_unique<NullCascade>(static_cast<std::size_t>(options.degree), options.reordered);
}

}  // namespace Atoll::gossip

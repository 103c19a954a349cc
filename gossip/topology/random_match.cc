// Random matching: in every round pairs drawn at random exchange half and half, as NoLoCo's outer steps do
// (Kolehmainen et al. 2025). Drawn from the run's seed and the round, so everybody knows the pairs; with an
// odd number of members one of them waits. There is no period.
#include <fmt/core.h>

#include <bit>
#include <numeric>
#include <utility>

#include "base/rng.h"
#include "gossip/topology/entries.h"
#include "gossip/topology/latest.h"
#include "gossip/topology/symmetric.h"

namespace Atoll::gossip {

namespace {

class RandomMatch : public SymmetricTopology {
  public:
    explicit RandomMatch(std::uint64_t seed) : seed_(seed) {}

    [[nodiscard]] std::string rules() const override { return fmt::format("random_match seed={}", seed_); }
    // As many as a 1-peer schedule needs at best: ceil(log2 n).
    [[nodiscard]] std::size_t rounds(const Roster& roster) const override {
        return roster.n > 1 ? static_cast<std::size_t>(std::bit_width(roster.n - 1)) : 0;
    }
    [[nodiscard]] std::size_t period(const Roster&) const override { return 0; }
    [[nodiscard]] bool exact(const Roster& roster) const override { return roster.n <= 2; }

  protected:
    [[nodiscard]] std::vector<Edge> partners(std::size_t n, std::size_t index,
                                             std::uint64_t round) const override {
        const auto pairs = pairs_.get({n, round}, [&] { return draw(n, round); });
        const std::size_t other = (*pairs)[index];
        if (other == index) return {};
        return {{other, 1.0 / 2}};
    }

  private:
    // Of each member its partner, or itself.
    [[nodiscard]] std::vector<std::size_t> draw(std::size_t n, std::uint64_t round) const {
        Rng rng = Rng(seed_).split("random_match", round);
        std::vector<std::size_t> order(n);
        std::iota(order.begin(), order.end(), 0);
        for (std::size_t i = n - 1; i > 0; --i)
            std::swap(order[i], order[static_cast<std::size_t>(rng.below(i + 1))]);
        std::vector<std::size_t> partner(n);
        std::iota(partner.begin(), partner.end(), 0);
        for (std::size_t i = 0; i + 1 < n; i += 2) {
            partner[order[i]] = order[i + 1];
            partner[order[i + 1]] = order[i];
        }
        return partner;
    }

    std::uint64_t seed_;
    Latest<std::pair<std::size_t, std::uint64_t>, std::vector<std::size_t>> pairs_;
};

}  // namespace

std::unique_ptr<Topology> make_random_match(const TopologyOptions& options) {
    return std::make_unique<RandomMatch>(options.seed);
}

}  // namespace Atoll::gossip

// k-peer exponential graph (Niwa et al. 2025, definition 5): in round l with the members j (k+1)^l away,
// j = 1..k. A period's product has H(f) = sin(pi f K / n) / (K sin(pi f / n)) with K = (k+1)^rounds: the
// exact mean if and only if n divides K. The paper takes floor(log_{k+1} n) rounds; one more where that is
// not whole (rounding up) leaves far less disagreement when n is just below a power.
#include <fmt/core.h>

#include <algorithm>

#include "gossip/topology/circulant.h"
#include "gossip/topology/entries.h"

namespace Atoll::gossip {

namespace {

class KPeerExponential : public CirculantTopology {
  public:
    KPeerExponential(std::size_t degree, bool rounding_up) : degree_(degree), rounding_up_(rounding_up) {}

    [[nodiscard]] std::string rules() const override {
        return fmt::format("k_peer_exponential degree={} rounding={}", degree_,
                           rounding_up_ ? "ceil" : "floor");
    }
    [[nodiscard]] bool exact(const Roster& roster) const override {
        const std::size_t base = peers(roster.n) + 1;
        std::size_t power = 1;
        for (std::size_t round = rounds(roster); round > 0; --round) power = power * base % roster.n;
        return power % roster.n == 0;
    }

  protected:
    [[nodiscard]] CirculantSchedule make_schedule(std::size_t n) const override {
        const std::size_t base = peers(n) + 1;
        CirculantSchedule rounds;
        for (std::size_t stride = 1; rounding_up_ ? stride < n : stride * base <= n; stride *= base)
            rounds.push_back(equal_taps(n, base, stride));
        return rounds;
    }

  private:
    // Nobody has more than n - 1 peers: then it is the full exchange.
    [[nodiscard]] std::size_t peers(std::size_t n) const { return std::min(degree_, n - 1); }

    std::size_t degree_;
    bool rounding_up_;
};

}  // namespace

std::unique_ptr<Topology> make_k_peer_exponential(const TopologyOptions& options) {
    return std::make_unique<KPeerExponential>(static_cast<std::size_t>(options.degree), options.rounding_up);
}

}  // namespace Atoll::gossip

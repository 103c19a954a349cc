// Circulant gossip rounds: everybody does the same, shifted by its own index. A round is a set of taps
// (offset o, weight w):
//
//     x_i  <-  sum over taps of  w * x_{(i + o) mod n}
//
// so member i receives from i + o and sends to i - o; offset 0 is what it keeps. Such matrices are doubly
// stochastic and share the Fourier eigenvectors: they commute, and a period of rounds yields the exact mean
// if and only if every frequency f = 1..n-1 is a zero of some round's H(f) = sum of w * exp(2 pi i f o / n)
// (Niwa et al. 2025, eq. 6).
#pragma once

#include <vector>

#include "gossip/topology/latest.h"
#include "gossip/topology/topology.h"

namespace Atoll::gossip {

struct Tap {
    std::size_t offset = 0;  // in 0..n-1, each at most once a round
    double weight = 0;       // > 0; the weights of a round sum to one
};
using CirculantRound = std::vector<Tap>;
using CirculantSchedule = std::vector<CirculantRound>;

class CirculantTopology : public Topology {
  public:
    [[nodiscard]] std::size_t rounds(const Roster& roster) const override;
    [[nodiscard]] Exchange exchange(const Roster& roster, std::size_t index,
                                    std::uint64_t round) const override;
    void hash_schedule(const Roster& roster, HashStream& stream) const override;
    // The rounds of a period; empty for one member.
    [[nodiscard]] std::shared_ptr<const CirculantSchedule> schedule(std::size_t n) const;

  protected:
    // Precondition: n >= 2.
    [[nodiscard]] virtual CirculantSchedule make_schedule(std::size_t n) const = 0;

  private:
    Latest<std::size_t, CirculantSchedule> latest_;
};

// The taps {0, stride, 2 stride, ..} of `count` equal weights: a moving average, spread out. Offsets that
// coincide modulo n become one tap.
[[nodiscard]] CirculantRound equal_taps(std::size_t n, std::size_t count, std::size_t stride);

}  // namespace Atoll::gossip

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

#include "gossip/topology/topology.h"

namespace Atoll::gossip {

struct Tap {
    std::size_t offset = 0;  // in 0..n-1, each at most once a round
    double weight = 0;       // > 0; the weights of a round sum to one
};

class CirculantTopology : public Topology {
  public:
    [[nodiscard]] bool exact(std::size_t n) const override;
    [[nodiscard]] Exchange exchange(std::size_t n, std::size_t index, std::uint64_t round) const override;

  protected:
    // Round `phase` (0..period(n)-1) of the schedule for n >= 2 members.
    [[nodiscard]] virtual std::vector<Tap> taps(std::size_t n, std::size_t phase) const = 0;
};

}  // namespace Atoll::gossip

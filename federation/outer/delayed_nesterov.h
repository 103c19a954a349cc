// Delayed Nesterov (Liu et al. 2024, arXiv 2401.09135, algorithm 3): an outer optimizer for updates that
// arrive one at a time. Each is applied at once, without momentum; every N-th one, momentum is made from the
// mean of the last N:
//
//   Theta <- Theta - eta Delta / N
//   every N-th:  m <- mu m + mean of the last N,   Theta <- Theta - eta mu m
//
// N arrivals from one and the same Theta are a Nesterov step on their mean. (Momentum at every arrival would
// weigh stale updates by 1 / (1 - mu).)
#pragma once

#include <span>
#include <vector>

#include "federation/outer/outer.h"
#include "kernels/flat.h"

namespace Atoll::federation {

class DelayedNesterov {
  public:
    DelayedNesterov(const OuterOptions& options, std::size_t parameters)
        : rate_(static_cast<float>(options.learning_rate)),
          momentum_(static_cast<float>(options.momentum)),
          m_(parameters),
          sum_(parameters) {}

    // An update for the part of the vector that begins at `offset`. `n`: N. `last`: it is the N-th.
    // Precondition: equal lengths, within the length given.
    void arrive(std::size_t offset, std::span<float> anchor, std::span<const float> delta, std::size_t n,
                bool last);
    // Momentum and sum of this part start anew.
    void forget(std::size_t offset, std::size_t size);
    [[nodiscard]] std::vector<OuterOptimizer::State> state() {
        return {{"momentum", m_.span()}, {"sum", sum_.span()}};
    }

  private:
    float rate_;
    float momentum_;
    kernels::FlatBuffer m_;
    kernels::FlatBuffer sum_;  // of the updates since the last step of the momentum, each divided by its N
};

}  // namespace Atoll::federation

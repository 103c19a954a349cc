// FOCUS (Ying, Li and Yang 2025, arXiv 2503.20117), with stochastic gradients SG-FOCUS: exact under any
// participation. The server's y is the sum of the last gradients that all clients reported, also of those who
// are away; a participant reports the change of its own:
//
//   client  x_i <- x_r,  y_i <- 0
//           for t = 0 .. H-1:   x_i <- x_i - eta y_i            (t > 0)
//                               g   <- gradient of f_i at x_i
//                               y_i <- y_i + g - gprev_i,  gprev_i <- g
//   server  y <- y + sum of y_i            (a sum: an average would lose track)
//           x <- x - eta y
//
// y_i telescopes to g - (the gradient of the last participation), which is what is computed here. eta is the
// configured rate over N: y is a sum, so that x moves by the configured rate times the mean gradient.
#include <algorithm>

#include "federation/federated/methods.h"

namespace Atoll::federation {

namespace {

template <typename Real>
class Focus : public Method<Real> {
  public:
    using Method<Real>::Method;
    bool updates() const override { return false; }
    bool tracks() const override { return true; }
    Result<StepResult> local_step(LocalRound<Real>& round, std::size_t t) override {
        if (t > 0) {
            const Real eta = round.replica.rate() / static_cast<Real>(round.clients);
            const std::span<Real> x = round.replica.parameters();
            for (std::size_t i = 0; i < x.size(); ++i) {
                x[i] -= eta * (round.target[i] - round.tracked[i]);
            }
        }
        return round.replica.gradient(round.target);
    }
    void server_step(std::span<Real> model, const Aggregate<Real>& aggregate) override {
        if (aggregate.clients == 0) return;
        const auto eta = static_cast<Real>(aggregate.rate / static_cast<double>(aggregate.clients));
        for (std::size_t i = 0; i < model.size(); ++i) model[i] -= eta * aggregate.tracked[i];
    }
};

}  // namespace

ATOLL_BOTH_METHODS(Focus, make_focus);

}  // namespace Atoll::federation

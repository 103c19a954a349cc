// MIFA (Gu et al. 2021, algorithm 1): the server steps with the mean of every client's latest update, also of
// those who are away:
//
//   G_i <- (x_r - x_i) / sum of the etas          of participants
//   x   <- x - eta_s H eta / N  sum over all clients of G_i
//
// The clients keep their G_i and send its change, as the paper's remark on memory allows.
#include "federation/federated/methods.h"

namespace Atoll::federation {

namespace {

template <typename Real>
class Mifa : public Method<Real> {
  public:
    using Method<Real>::Method;
    bool updates() const override { return false; }
    bool tracks() const override { return true; }
    void end_local(LocalRound<Real>& round) override {
        const std::span<const Real> x = round.replica.parameters();
        for (std::size_t i = 0; i < x.size(); ++i) {
            round.target[i] = round.rates > 0 ? (round.model[i] - x[i]) / round.rates : Real(0);
        }
    }
    void server_step(std::span<Real> model, const Aggregate<Real>& aggregate) override {
        if (aggregate.clients == 0) return;
        const double rates = aggregate.rate * static_cast<double>(this->options_.local_steps);
        const auto rate = static_cast<Real>(this->options_.server_learning_rate * rates /
                                            static_cast<double>(aggregate.clients));
        for (std::size_t i = 0; i < model.size(); ++i) model[i] -= rate * aggregate.tracked[i];
    }
};

}  // namespace

ATOLL_BOTH_METHODS(Mifa, make_mifa);

}  // namespace Atoll::federation

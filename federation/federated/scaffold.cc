// SCAFFOLD (Karimireddy et al. 2020, algorithm 1, option II): control variates c_i correct the local steps
// for what sets a client's data apart:
//
//   x_i  <- x_i - eta (g - c_i + c)                       H local steps from x_r
//   c_i  <- c_i - c + (x_r - x_i) / sum of the etas
//   x    <- x - eta_s  mean over participants of (x_r - x_i)
//   c    <- mean over all clients of c_i
#include "federation/federated/methods.h"

namespace Atoll::federation {

namespace {

template <typename Real>
class Scaffold : public Method<Real> {
  public:
    using Method<Real>::Method;
    bool tracks() const override { return true; }
    bool downloads_mean() const override { return true; }
    Result<StepResult> local_step(LocalRound<Real>& round, std::size_t) override {
        const Real rate = round.replica.rate();
        ATOLL_ASSIGN(const StepResult result, round.replica.gradient(round.scratch));
        const std::span<Real> x = round.replica.parameters();
        for (std::size_t i = 0; i < x.size(); ++i) {
            x[i] -= rate * (round.scratch[i] - round.tracked[i] + round.mean[i]);
        }
        round.rates += rate;
        return result;
    }
    void end_local(LocalRound<Real>& round) override {
        const std::span<const Real> x = round.replica.parameters();
        for (std::size_t i = 0; i < x.size(); ++i) {
            const Real drift = round.rates > 0 ? (round.model[i] - x[i]) / round.rates : Real(0);
            round.target[i] = round.tracked[i] - round.mean[i] + drift;
        }
    }
};

}  // namespace

ATOLL_BOTH_METHODS(Scaffold, make_scaffold);

}  // namespace Atoll::federation

// FedProx (Li et al. 2020, algorithm 2): local steps on f_i(x) + mu/2 |x - x_r|^2, so that a client with data
// of its own does not run away from the others; the server as FedAvg.
#include "federation/federated/methods.h"

namespace Atoll::federation {

namespace {

template <typename Real>
class FedProx : public Method<Real> {
  public:
    using Method<Real>::Method;
    Result<StepResult> local_step(LocalRound<Real>& round, std::size_t) override {
        const Real rate = round.replica.rate();
        const auto mu = static_cast<Real>(this->options_.proximal);
        ATOLL_ASSIGN(const StepResult result, round.replica.gradient(round.scratch));
        const std::span<Real> x = round.replica.parameters();
        for (std::size_t i = 0; i < x.size(); ++i) {
            x[i] -= rate * (round.scratch[i] + mu * (x[i] - round.model[i]));
        }
        return result;
    }
};

}  // namespace

ATOLL_BOTH_METHODS(FedProx, make_fedprox);

}  // namespace Atoll::federation

// FedAU (Wang and Ji 2024, algorithm 2): FedAvg that weighs who comes rarely more. The mean length of the
// intervals between a client's participations estimates 1 / p_i:
//
//   x <- x - eta_s / N  sum over participants of  omega_i (x_r - x_i)
#include "federation/federated/methods.h"

namespace Atoll::federation {

namespace {

template <typename Real>
class FedAU : public Method<Real> {
  public:
    using Method<Real>::Method;
    double weight(const Attendance& attendance, std::size_t, std::size_t clients) const override {
        return attendance.weight / static_cast<double>(clients);
    }
};

}  // namespace

ATOLL_BOTH_METHODS(FedAU, make_fedau);

}  // namespace Atoll::federation

// FedAvg (McMahan et al. 2017, algorithm 1), equal weights:
//
//   x <- x - eta_s  mean over participants of (x_r - x_i)            eta_s = 1: the mean of the x_i
#include "federation/federated/methods.h"

namespace Atoll::federation {

namespace {

template <typename Real>
class FedAvg : public Method<Real> {
  public:
    using Method<Real>::Method;
};

}  // namespace

ATOLL_BOTH_METHODS(FedAvg, make_fedavg);

}  // namespace Atoll::federation

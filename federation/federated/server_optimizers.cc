// FedAvg whose server takes the mean update Delta (old minus new) for a gradient:
//
//   fedavgm  v <- beta v + Delta                                     x <- x - eta v
//            (Hsu, Qi and Brown 2019)
//   fedadam  m <- beta1 m + (1 - beta1) Delta
//            v <- beta2 v + (1 - beta2) Delta^2                      x <- x - eta m / (sqrt(v) + tau)
//   fedyogi  v <- v - (1 - beta2) Delta^2 sign(v - Delta^2)          and the rest as fedadam
//            (Reddi et al. 2021, algorithm 2; v begins at tau^2, no bias correction)
#include <algorithm>
#include <cmath>

#include "federation/federated/methods.h"

namespace Atoll::federation {

namespace {

template <typename Real>
class FedAvgM : public Method<Real> {
  public:
    explicit FedAvgM(const MethodOptions& options) : Method<Real>(options), v_(options.parameters) {}
    void server_step(std::span<Real> model, const Aggregate<Real>& aggregate) override {
        if (aggregate.participants == 0) return;
        const auto rate = static_cast<Real>(this->options_.server_learning_rate);
        const auto beta = static_cast<Real>(this->options_.server_momentum);
        for (std::size_t i = 0; i < model.size(); ++i) {
            v_[i] = beta * v_[i] + aggregate.update[i];
            model[i] -= rate * v_[i];
        }
    }
    std::vector<MethodState<Real>> state() override { return {{"momentum", v_}}; }

  private:
    std::vector<Real> v_;
};

template <typename Real>
class Adaptive : public Method<Real> {
  public:
    explicit Adaptive(const MethodOptions& options)
        : Method<Real>(options), m_(options.parameters), v_(options.parameters) {
        std::ranges::fill(v_, static_cast<Real>(options.server_epsilon * options.server_epsilon));
    }
    void server_step(std::span<Real> model, const Aggregate<Real>& aggregate) override {
        if (aggregate.participants == 0) return;
        const auto rate = static_cast<Real>(this->options_.server_learning_rate);
        const auto beta1 = static_cast<Real>(this->options_.server_momentum);
        const auto tau = static_cast<Real>(this->options_.server_epsilon);
        for (std::size_t i = 0; i < model.size(); ++i) {
            const Real delta = aggregate.update[i];
            m_[i] = beta1 * m_[i] + (1 - beta1) * delta;
            v_[i] = second_moment(v_[i], delta * delta);
            model[i] -= rate * m_[i] / (std::sqrt(v_[i]) + tau);
        }
    }
    std::vector<MethodState<Real>> state() override { return {{"moment1", m_}, {"moment2", v_}}; }

  protected:
    [[nodiscard]] virtual Real second_moment(Real v, Real squared) const = 0;
    [[nodiscard]] Real beta2() const { return static_cast<Real>(this->options_.server_beta2); }

  private:
    std::vector<Real> m_;
    std::vector<Real> v_;
};

template <typename Real>
class FedAdam : public Adaptive<Real> {
  public:
    using Adaptive<Real>::Adaptive;

  private:
    Real second_moment(Real v, Real squared) const override {
        return this->beta2() * v + (1 - this->beta2()) * squared;
    }
};

template <typename Real>
class FedYogi : public Adaptive<Real> {
  public:
    using Adaptive<Real>::Adaptive;

  private:
    Real second_moment(Real v, Real squared) const override {
        const Real sign = v > squared ? Real(1) : v < squared ? Real(-1) : Real(0);
        return v - (1 - this->beta2()) * squared * sign;
    }
};

}  // namespace

ATOLL_BOTH_METHODS(FedAvgM, make_fedavgm);
ATOLL_BOTH_METHODS(FedAdam, make_fedadam);
ATOLL_BOTH_METHODS(FedYogi, make_fedyogi);

}  // namespace Atoll::federation

#include <cmath>

#include "base/check.h"
#include "federation/outer/outer_optimizers.h"
#include "kernels/flat.h"

namespace Atoll::federation {

namespace {

// Reddi et al. 2021, algorithm 2 (FedAdam), beta1 = OuterOptions::momentum:
//   m     <- beta1 * m + (1 - beta1) * Delta
//   v     <- beta2 * v + (1 - beta2) * Delta^2
//   Theta <- Theta - eta * m / (sqrt(v) + epsilon)
// No bias correction, as there: a fragment's step needs to know nothing of how many came before. Pseudo-
// gradients of a late run are small; with an epsilon far below them every value moves by about eta.
class OuterAdam : public OuterOptimizer {
  public:
    OuterAdam(const OuterOptions& options, std::size_t parameters)
        : rate_(static_cast<float>(options.learning_rate)),
          beta1_(static_cast<float>(options.momentum)),
          beta2_(static_cast<float>(options.beta2)),
          epsilon_(static_cast<float>(options.epsilon)),
          m_(parameters),
          v_(parameters) {}
    void step_range(std::size_t offset, std::span<float> anchor, std::span<const float> delta) override {
        ATOLL_CHECK(anchor.size() == delta.size() && offset + delta.size() <= m_.size());
        float* const m = m_.data() + offset;
        float* const v = v_.data() + offset;
        for (std::size_t i = 0; i < anchor.size(); ++i) {
            m[i] = beta1_ * m[i] + (1 - beta1_) * delta[i];
            v[i] = beta2_ * v[i] + (1 - beta2_) * delta[i] * delta[i];
            anchor[i] -= rate_ * m[i] / (std::sqrt(v[i]) + epsilon_);
        }
    }
    [[nodiscard]] std::vector<State> state() override {
        return {{"momentum", m_.span()}, {"variance", v_.span()}};
    }

  private:
    float rate_;
    float beta1_;
    float beta2_;
    float epsilon_;
    kernels::FlatBuffer m_;
    kernels::FlatBuffer v_;
};

}  // namespace

std::unique_ptr<OuterOptimizer> make_outer_adam(const OuterOptions& options, std::size_t parameters) {
    return std::make_unique<OuterAdam>(options, parameters);
}

}  // namespace Atoll::federation

#include "base/check.h"
#include "federation/outer/outer_optimizers.h"
#include "kernels/flat.h"

namespace Atoll::federation {

namespace {

// Douillard et al. 2023, algorithm 1 with OuterOpt = SGD with Nesterov momentum:
//   u     <- mu * u + Delta
//   Theta <- Theta - eta * (Delta + mu * u)
// (Theta -= eta * u would be heavy ball, a different method.)
class OuterNesterov : public OuterOptimizer {
  public:
    OuterNesterov(const OuterOptions& options, std::size_t parameters)
        : rate_(static_cast<float>(options.learning_rate)),
          momentum_(static_cast<float>(options.momentum)),
          u_(parameters) {}
    void step_range(std::size_t offset, std::span<float> anchor, std::span<const float> delta) override {
        ATOLL_CHECK(anchor.size() == delta.size() && offset + delta.size() <= u_.size());
        float* const u = u_.data() + offset;
        for (std::size_t i = 0; i < anchor.size(); ++i) {
            u[i] = momentum_ * u[i] + delta[i];
            anchor[i] -= rate_ * (delta[i] + momentum_ * u[i]);
        }
    }
    [[nodiscard]] std::vector<State> state() override { return {{"momentum", u_.span()}}; }

  private:
    float rate_;
    float momentum_;
    kernels::FlatBuffer u_;
};

}  // namespace

std::unique_ptr<OuterOptimizer> make_outer_nesterov(const OuterOptions& options, std::size_t parameters) {
    return std::make_unique<OuterNesterov>(options, parameters);
}

}  // namespace Atoll::federation

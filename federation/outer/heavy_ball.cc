#include "base/check.h"
#include "federation/outer/outer_optimizers.h"
#include "kernels/flat.h"

namespace Atoll::federation {

namespace {

// Polyak's heavy ball:
//   u     <- mu * u + Delta
//   Theta <- Theta - eta * u
// Nesterov's step looks ahead, Theta -= eta * (Delta + mu * u): another method, and the better one here.
class OuterHeavyBall : public OuterOptimizer {
  public:
    OuterHeavyBall(const OuterOptions& options, std::size_t parameters)
        : rate_(static_cast<float>(options.learning_rate)),
          momentum_(static_cast<float>(options.momentum)),
          u_(parameters) {}
    void step_range(std::size_t offset, std::span<float> anchor, std::span<const float> delta) override {
        ATOLL_CHECK(anchor.size() == delta.size() && offset + delta.size() <= u_.size());
        float* const u = u_.data() + offset;
        for (std::size_t i = 0; i < anchor.size(); ++i) {
            u[i] = momentum_ * u[i] + delta[i];
            anchor[i] -= rate_ * u[i];
        }
    }
    [[nodiscard]] std::vector<State> state() override { return {{"momentum", u_.span()}}; }

  private:
    float rate_;
    float momentum_;
    kernels::FlatBuffer u_;
};

}  // namespace

std::unique_ptr<OuterOptimizer> make_outer_heavy_ball(const OuterOptions& options, std::size_t parameters) {
    return std::make_unique<OuterHeavyBall>(options, parameters);
}

}  // namespace Atoll::federation

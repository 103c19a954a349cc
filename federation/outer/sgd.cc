#include "base/check.h"
#include "federation/outer/outer_optimizers.h"

namespace Atoll::federation {

namespace {

// Theta -= eta * Delta. With eta = 1 this is FedAvg: the anchor becomes the mean of the replicas.
class OuterSgd : public OuterOptimizer {
  public:
    explicit OuterSgd(const OuterOptions& options) : rate_(static_cast<float>(options.learning_rate)) {}
    void step_range(std::size_t, std::span<float> anchor, std::span<const float> delta) override {
        ATOLL_CHECK(anchor.size() == delta.size());
        for (std::size_t i = 0; i < anchor.size(); ++i) anchor[i] -= rate_ * delta[i];
    }
    [[nodiscard]] std::vector<State> state() override { return {}; }

  private:
    float rate_;
};

}  // namespace

std::unique_ptr<OuterOptimizer> make_outer_sgd(const OuterOptions& options, std::size_t) {
    return std::make_unique<OuterSgd>(options);
}

}  // namespace Atoll::federation

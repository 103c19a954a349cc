// Quasi-global momentum (Lin et al. 2021, algorithm 1): the momentum follows what mixing made of the
// parameters, not the local gradients, so that members with different data keep nearly the same one without
// sending it. beta = optimizer.beta1, and mu = 1 - beta:
//
//   m      = beta mhat_i + g_i                    H local steps, mhat_i fixed
//   x_i   <- x_i - eta m                          (Nesterov: x_i - eta (g_i + beta m))
//   x_i   <- sum_j W_ij x_j
//   mhat_i <- (1 - mu) mhat_i + mu d_i,           d_i = (x_i before the round - x_i now) / sum of its etas
#include "federation/algorithm/entries.h"
#include "federation/algorithm/gossip_training.h"

namespace Atoll::federation {

namespace {

class QuasiGlobalMomentum final : public GossipTraining {
  public:
    QuasiGlobalMomentum(const RunConfig& config, std::size_t parameters)
        : GossipTraining(config, parameters),
          step_(config, parameters),
          beta_(static_cast<float>(config.optimizer.beta1)),
          nesterov_(config.optimizer.nesterov),
          momentum_(parameters) {}

    // "momentum" (shared: a peer's is nearly the own); "rates" (own): the etas of this round so far.
    std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = GossipTraining::state();
        vectors.push_back({"momentum", momentum_.span(), true});
        vectors.push_back({"rates", {&rates_, 1}, false});
        return vectors;
    }
    void adopted(Worker& worker) override {
        GossipTraining::adopted(worker);
        rates_ = 0;
    }

  private:
    Result<StepResult> local_step(Worker& worker) override {
        ATOLL_ASSIGN(const StepResult result, step_.take_gradient(worker));
        const std::span<float> direction = step_.gradient();
        const float* const mhat = momentum_.data();
        for (std::size_t i = 0; i < direction.size(); ++i) {
            const float g = direction[i];
            const float m = beta_ * mhat[i] + g;
            direction[i] = nesterov_ ? g + beta_ * m : m;
        }
        step_.descend(worker, direction, result.learning_rate);
        rates_ += static_cast<float>(result.learning_rate);
        return result;
    }

    void mixed(std::span<const float> before, std::span<const float> after) override {
        if (rates_ > 0) {
            const float mu = 1 - beta_;
            float* const mhat = momentum_.data();
            for (std::size_t i = 0; i < before.size(); ++i) {
                mhat[i] = (1 - mu) * mhat[i] + mu * (before[i] - after[i]) / rates_;
            }
        }
        rates_ = 0;
    }

    OwnStep step_;
    float beta_;
    bool nesterov_;
    kernels::FlatBuffer momentum_;  // mhat
    float rates_ = 0;
};

}  // namespace

std::unique_ptr<Algorithm> make_qg_dsgdm(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<QuasiGlobalMomentum>(config, parameters);
}

Status check_qg_dsgdm(const RunConfig& config) { return check_sgd(config, Momentum::needed); }

}  // namespace Atoll::federation

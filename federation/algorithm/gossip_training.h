// Gossip training: local steps, then one mixing round on the parameters themselves,
//
//   x_i <- H local steps from x_i,     x_i <- sum_j W_ij(t) x_j
//
// (adapt, then combine: Lian et al. 2017, Chen and Sayed 2012). W(t) is round t of the topology's schedule:
// one exchange a round, unless averaging.stages says otherwise. Nobody ever holds the exact mean; the
// replicas stay close to it.
#pragma once

#include <memory>
#include <vector>

#include "federation/algorithm/algorithm.h"
#include "federation/algorithm/residuals.h"
#include "federation/run_config.h"
#include "kernels/flat.h"

namespace Atoll::federation {

// Invariant between any two local steps, as Diloco's: worker.step() = round() * H + local steps done in this
// round.
class GossipTraining : public Algorithm {
  public:
    // `vectors`: how many vectors mix() mixes, the parameters included; 0 if the algorithm has a mix() of its
    // own.
    GossipTraining(const RunConfig& config, std::size_t parameters, std::size_t vectors = 1);

    [[nodiscard]] Status run(Context& context) override;
    [[nodiscard]] std::uint64_t round() const override { return round_; }
    [[nodiscard]] std::uint64_t rounds() const override { return static_cast<std::uint64_t>(run_.rounds); }
    void set_round(std::uint64_t round) override { round_ = round; }
    // "parameters" (shared): as the last mixing left them; "residual.<stage>" (own).
    [[nodiscard]] std::vector<StateVector> state() override;
    [[nodiscard]] bool reserve(std::string_view name) override;
    void adopted(Worker& worker) override;

  protected:
    // One local step: the inner optimizer's, unless the algorithm has a step of its own.
    [[nodiscard]] virtual Result<StepResult> local_step(Worker& worker) { return worker.inner_step(); }
    // What is mixed beside the parameters, of their length.
    [[nodiscard]] virtual std::vector<std::span<float>> companions() { return {}; }
    // The exchange of a round: brings its result into the parameters, and settle()s them.
    [[nodiscard]] virtual Status mix(Context& context, RoundReport& report);
    void settle(Worker& worker, RoundReport& report);
    // The mixing of a round took the parameters from `before` (at its start) to `after`.
    virtual void mixed(std::span<const float> /*before*/, std::span<const float> /*after*/) {}

  private:
    RunConfig::Run run_;
    std::uint64_t inner_steps_;
    std::uint64_t round_ = 0;
    kernels::FlatBuffer x_;          // the parameters after the last mixing
    kernels::FlatBuffer exchanged_;  // what is being mixed: an interrupted exchange harms nothing
    Residuals residuals_;
};

// The local step of algorithms that take gradients and step themselves: the gradient of the next batch, cut
// to optimizer.clip_norm; then x <- (1 - rate * weight_decay) x for matrices, x <- x - rate * direction.
class OwnStep {
  public:
    OwnStep(const RunConfig& config, std::size_t parameters)
        : clip_norm_(config.optimizer.clip_norm),
          weight_decay_(config.optimizer.weight_decay),
          gradient_(parameters) {}
    // At the worker's parameters.
    [[nodiscard]] Result<StepResult> take_gradient(Worker& worker);
    [[nodiscard]] std::span<float> gradient() { return gradient_.span(); }
    // Moves the parameters, with the rate of the schedule; descend() also ends the step.
    void move(Worker& worker, std::span<const float> direction, double learning_rate) const;
    void descend(Worker& worker, std::span<const float> direction, double learning_rate) const;

  private:
    double clip_norm_;
    double weight_decay_;
    kernels::FlatBuffer gradient_;
};

// Cross-field checks (AlgorithmEntry::check). Parameters bear no coarse codec: what a DiLoCo member loses is
// a part of its update, what a gossip member would lose is a part of itself.
[[nodiscard]] Status check_gossip_training(const RunConfig& config);
// The optimizer is `sgd`; beta1 (the momentum) is 0 or not.
enum class Momentum { none, needed };
[[nodiscard]] Status check_sgd_optimizer(const RunConfig& config, Momentum momentum);
// Both.
[[nodiscard]] Status check_sgd(const RunConfig& config, Momentum momentum);

}  // namespace Atoll::federation

// DiLoCo (Douillard et al. 2023, algorithm 1): H local steps, then one outer step on the averaged
// pseudo-gradient. Here without a coordinator: every member holds the anchor and the outer momentum, and
// averages by gossip.
#pragma once

#include <vector>

#include "federation/algorithm/algorithm.h"
#include "federation/algorithm/local_steps.h"
#include "federation/algorithm/residuals.h"
#include "federation/outer/outer.h"
#include "federation/run_config.h"
#include "kernels/flat.h"

namespace Atoll::federation {

// Invariant between any two inner steps: worker.step() = round() * H + inner steps done in this round. So a
// checkpoint taken in mid-round (after a stop) needs nothing beyond the worker and state(): run() goes on
// with the inner steps that are left. With dynamic local steps a round has H_w of them; at its end the worker
// is moved to where the schedule of all stands.
class Diloco : public Algorithm {
  public:
    Diloco(const RunConfig& config, std::size_t parameters, std::unique_ptr<OuterOptimizer> outer);

    [[nodiscard]] Status run(Context& context) override;
    [[nodiscard]] std::uint64_t round() const override { return round_; }
    [[nodiscard]] std::uint64_t rounds() const override { return static_cast<std::uint64_t>(run_.rounds); }
    void set_round(std::uint64_t round) override { round_ = round; }
    // "anchor" and "outer.*" (shared); "residual.<stage>" and, where it is dynamic, "local_steps" (own).
    [[nodiscard]] std::vector<StateVector> state() override;
    [[nodiscard]] bool reserve(std::string_view name) override;
    void adopted(Worker& worker) override;

  protected:
    // The members' anchors met in `anchor`, the round's slice of Theta: `met` is their mean, `delta` the same
    // slice of the averaged pseudo-gradient, before the outer step. Here the slice becomes the mean.
    virtual void anchors_met(std::span<float> anchor, std::span<const float> met, std::span<float> delta);

  private:
    [[nodiscard]] Status begin(Context& context);
    [[nodiscard]] Status inner_steps(Context& context, RoundReport& report);
    [[nodiscard]] Status average(Context& context, RoundReport& report);
    void restart_from_anchor(Worker& worker);
    // The part of a vector whose turn it is in this round, to keep the anchors together.
    [[nodiscard]] std::span<float> round_slice(std::span<float> vector) const;

    RunConfig::Run run_;
    RunConfig::AlgorithmTable options_;
    LocalSteps local_steps_;
    kernels::FlatBuffer speed_;  // of this member, then the mean; the rest of the cache line is zero
    std::unique_ptr<OuterOptimizer> outer_;
    std::unique_ptr<gossip::Codec> exact_;  // of the anchors' slices
    std::uint64_t round_ = 0;
    kernels::FlatBuffer anchor_;  // Theta
    kernels::FlatBuffer delta_;   // Delta_m, then its mean
    kernels::FlatBuffer slice_;   // the part of Theta that this round averages
    Residuals residuals_;
};

// The outer optimizer of the run's algorithm table.
[[nodiscard]] std::unique_ptr<OuterOptimizer> make_outer(const RunConfig& config, std::size_t parameters);

// The slice, of `slices` of them (0: none), that round `round` averages: all of them cover the vector.
[[nodiscard]] std::span<float> slice_of(std::span<float> vector, std::uint64_t round, std::size_t slices);

}  // namespace Atoll::federation

// Synchronous training: all members make the same steps, each in an exchange whose owners take it
// (gossip/averaging/owner_step.h), and hold the same parameters after each of them. A round is
// algorithm.inner_steps such steps.
//
// A member that was left out, or is new, receives the others' next step and goes on from there; an exchange
// that fails is repeated, and asks a peer for its state in between.
#pragma once

#include <optional>

#include "federation/algorithm/algorithm.h"
#include "federation/algorithm/residuals.h"
#include "federation/run_config.h"
#include "kernels/flat.h"

namespace Atoll::federation {

// Invariant between any two steps: worker.step() is the number of steps committed, of which round() x H ended
// in rounds that have been reported.
class SynchronousTraining : public Algorithm {
  public:
    // `exchanges`: a step, numbered throughout.
    SynchronousTraining(const RunConfig& config, std::size_t parameters, std::uint64_t exchanges = 1);

    [[nodiscard]] Status run(Context& context) override;
    [[nodiscard]] std::uint64_t round() const override { return round_; }
    [[nodiscard]] std::uint64_t rounds() const override { return static_cast<std::uint64_t>(run_.rounds); }
    void set_round(std::uint64_t round) override { round_ = round; }
    // "parameters" (shared): at the end of the last round; "residual.<exchange of the step>" (own).
    [[nodiscard]] std::vector<StateVector> state() override;
    [[nodiscard]] bool reserve(std::string_view name) override;
    void adopted(Worker& worker) override;

  protected:
    // Commits one step, or takes over what the others have committed meanwhile (of which worker.step()
    // tells).
    [[nodiscard]] virtual Result<StepResult> step(Context& context, RoundReport& report) = 0;

    [[nodiscard]] virtual gossip::OwnerStep& owner_step() = 0;
    // Of the own contribution: the run's, unless the algorithm has one.
    [[nodiscard]] virtual const gossip::Codec& contribution_codec(const Context& context) {
        return context.codec;
    }

    // Calls average() for exchange number `exchange`.
    [[nodiscard]] Result<gossip::AverageReport> average(Context& context, std::uint64_t exchange,
                                                        std::span<float> values);
    // After it: repeats it as long as it was in vain, in the end alone. Returns the number of the exchange
    // whose outcome the values are; nothing if a peer's state was adopted instead, or this member has nothing
    // to step from.
    [[nodiscard]] Result<std::optional<std::uint64_t>> settle(Context& context, std::uint64_t exchange,
                                                              std::span<float> values,
                                                              gossip::AverageReport average,
                                                              RoundReport& report);

    // In the run.
    [[nodiscard]] std::uint64_t exchanges() const { return rounds() * inner_steps_ * exchanges_; }

  private:
    RunConfig::Run run_;
    std::uint64_t inner_steps_;
    std::uint64_t exchanges_;  // a step
    std::uint64_t round_ = 0;
    kernels::FlatBuffer x_;  // the parameters at the end of the last round
    Residuals residuals_;
};

}  // namespace Atoll::federation

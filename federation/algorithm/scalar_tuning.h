// Zeroth-order tuning over the network: members send numbers measured along random directions, never vectors.
// Everyone has the directions (their seeds follow from the run's) and the agreed numbers of all rounds so
// far, and these are the model:
//
//   parameters = start + what the agreed numbers say, added up in one fixed order
//
// So a round costs bytes, whatever the size of the model; a joiner fetches the numbers, not the parameters;
// and replicas are equal to the bit, on any processor (kernels/normals.h). Both rest on everybody having the
// same numbers, so the exchange must be one that agrees (gossip::AveragingEntry::agrees). A round that
// was not agreed is exchanged again, a few times; then a member goes on alone rather than wait for ever, and
// takes the numbers of the others when they meet again.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "federation/algorithm/algorithm.h"
#include "federation/run_config.h"
#include "kernels/flat.h"
#include "kernels/normals.h"
#include "model/optim/schedule.h"
#include "model/optim/spsa.h"

namespace Atoll::federation {

// What the model of a round is made from.
enum class Replay {
    onward,      // that of the round before, and this round's numbers
    from_start,  // the parameters of round 0, and all numbers
};

// Invariant between any two local steps, as Diloco's: worker.step() = round() * H + local steps done in this
// round.
class ScalarTuning : public Algorithm {
  public:
    // `scalars`: what a member sends a round. `numbers`: what makes the model of any round; with
    // Replay::onward the agreed scalars of all rounds, one round after the other.
    ScalarTuning(const RunConfig& config, std::size_t parameters, Replay replay, std::size_t scalars,
                 std::size_t numbers);

    [[nodiscard]] Status run(Context& context) override;
    [[nodiscard]] std::uint64_t round() const override { return round_; }
    [[nodiscard]] std::uint64_t rounds() const override { return static_cast<std::uint64_t>(run_.rounds); }
    void set_round(std::uint64_t round) override { round_ = round; }
    // "numbers" and "origin", a hash of "start" (shared); "start", the parameters of round 0, and "scalars",
    // measured in this round (own).
    [[nodiscard]] std::vector<StateVector> state() override;
    [[nodiscard]] bool reserve(std::string_view name) override;
    void adopted(Worker& worker) override;

  protected:
    // A local step: moves the worker's parameters and writes what was measured into scalars().
    [[nodiscard]] virtual Result<StepResult> local_step(Worker& worker) = 0;
    // Takes what the members agreed on in round round() into numbers().
    virtual void record(std::span<const float> mean) = 0;
    // What leads from the parameters of round `from` to those of round `to`, in order; `from` is 0 with
    // Replay::from_start.
    [[nodiscard]] virtual std::vector<kernels::NormalTerm> terms(std::uint64_t from,
                                                                 std::uint64_t to) const = 0;
    // The largest norm that the scalars of a round can have.
    [[nodiscard]] virtual double norm_max() const = 0;

    [[nodiscard]] std::span<float> scalars() { return scalars_.span(); }
    [[nodiscard]] std::span<float> numbers() { return numbers_.span(); }
    [[nodiscard]] std::span<const float> numbers() const { return numbers_.span(); }
    [[nodiscard]] std::uint64_t inner_steps() const { return inner_steps_; }
    [[nodiscard]] double clip_norm() const { return clip_norm_; }
    [[nodiscard]] std::uint64_t seed() const { return static_cast<std::uint64_t>(run_.seed); }
    // Of choices that this member makes for itself.
    [[nodiscard]] std::uint64_t own_seed() const { return own_seed_; }
    // Of inner step `step`, counted from 0 over the run.
    [[nodiscard]] double learning_rate(std::uint64_t step) const;
    // The slope along a direction at the worker's parameters, clipped.
    [[nodiscard]] Result<model::Slope> measure(Worker& worker, model::Draw draw,
                                               std::uint64_t direction) const;

  private:
    [[nodiscard]] Status begin(Context& context);
    [[nodiscard]] Result<bool> exchange(Context& context, RoundReport& report);
    [[nodiscard]] Result<bool> follow(Context& context, const gossip::PeerId& leader);
    // Errors (refused): the run began with other parameters than this member did.
    [[nodiscard]] Status check_origin() const;
    [[nodiscard]] float fingerprint() const;
    void rebuild(Worker& worker);

    RunConfig::Run run_;
    Replay replay_;
    std::uint64_t inner_steps_;
    double perturbation_;
    double clip_norm_;
    double peak_rate_;
    model::ScheduleOptions schedule_options_;
    const model::ScheduleEntry* schedule_;
    std::uint64_t own_seed_ = 0;
    std::uint64_t round_ = 0;
    // 16 bits of the hash each, which a float holds exactly.
    using Origin = std::array<float, 16>;
    [[nodiscard]] static Origin origin_of(std::span<const float> start);
    kernels::FlatBuffer start_;
    Origin own_origin_{};
    Origin origin_{};  // of the run
    kernels::FlatBuffer scalars_;
    kernels::FlatBuffer numbers_;
    std::vector<float> exchanged_;
    // Replay::onward: the model of round model_round_, and the numbers that made it.
    kernels::FlatBuffer model_;
    std::uint64_t model_round_ = 0;
    std::vector<float> model_numbers_;
};

// Cross-field checks (AlgorithmEntry::check) of every such algorithm.
[[nodiscard]] Status check_scalar_tuning(const RunConfig& config);

}  // namespace Atoll::federation

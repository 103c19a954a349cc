// DeComFL (Li et al. 2025, arXiv 2405.15861), without a server: in a round of K local steps
//
//   for k = 1..K:
//     for p = 1..P:  g_kp = (L(theta + mu z_kp) - L(theta - mu z_kp)) / (2 mu)      on one batch
//     theta <- theta - eta / P sum_p g_kp z_kp
//   theta <- back to where the round began
//   G <- mean of the members' g                                                     K P numbers on the wire
//   for k = 1..K:  theta <- theta - eta / P sum_p G_kp z_kp
//
// All members measure along the same directions z_kp, which is why their numbers can be averaged. Here the
// seeds follow from run.seed and the number of the step and are never sent. The numbers of all rounds are the
// log from which a joiner rebuilds the model.
#include <fmt/core.h>

#include <cmath>

#include "federation/algorithm/entries.h"
#include "federation/algorithm/scalar_tuning.h"

namespace Atoll::federation {

namespace {

std::size_t scalars_of(const RunConfig& config) {
    return static_cast<std::size_t>(config.algorithm.inner_steps * config.algorithm.perturbations);
}

class Decomfl final : public ScalarTuning {
  public:
    Decomfl(const RunConfig& config, std::size_t parameters)
        : ScalarTuning(config, parameters, Replay::onward, scalars_of(config),
                       scalars_of(config) * static_cast<std::size_t>(config.run.rounds)),
          perturbations_(static_cast<std::size_t>(config.algorithm.perturbations)) {}

  protected:
    Result<StepResult> local_step(Worker& worker) override {
        const std::uint64_t step = worker.step();
        const auto slopes =
            scalars().subspan((step - round() * inner_steps()) * perturbations_, perturbations_);
        StepResult result{.learning_rate = learning_rate(step)};
        const double share = 1 / static_cast<double>(perturbations_);
        double squares = 0;
        for (std::size_t p = 0; p < perturbations_; ++p) {
            const model::Draw draw = p == 0 ? model::Draw::next : model::Draw::again;
            ATOLL_ASSIGN(const model::Slope slope, measure(worker, draw, direction(step, p)));
            slopes[p] = static_cast<float>(slope.value);
            result.loss += share * slope.loss;
            result.tokens += slope.tokens;
            squares += share * slope.value * slope.value;
        }
        result.gradient_norm = std::sqrt(squares);
        std::vector<kernels::NormalTerm> move;
        append(step, slopes, move);
        worker.add_normals(move);
        worker.set_step(step + 1);
        return result;
    }

    void record(std::span<const float> mean) override {
        std::ranges::copy(mean, numbers().subspan(round() * mean.size(), mean.size()).begin());
    }

    std::vector<kernels::NormalTerm> terms(std::uint64_t from, std::uint64_t to) const override {
        std::vector<kernels::NormalTerm> terms;
        for (std::uint64_t step = from * inner_steps(); step < to * inner_steps(); ++step)
            append(step, numbers().subspan(step * perturbations_, perturbations_), terms);
        return terms;
    }

    double norm_max() const override {
        return clip_norm() * std::sqrt(static_cast<double>(inner_steps() * perturbations_));
    }

  private:
    std::uint64_t direction(std::uint64_t step, std::size_t p) const {
        return model::direction_seed(seed(), step + 1, p);
    }
    // The terms of -eta / P sum_p slopes_p z_p.
    void append(std::uint64_t step, std::span<const float> slopes,
                std::vector<kernels::NormalTerm>& terms) const {
        const double rate = learning_rate(step) / static_cast<double>(perturbations_);
        for (std::size_t p = 0; p < perturbations_; ++p)
            terms.push_back({direction(step, p), static_cast<float>(-rate * static_cast<double>(slopes[p]))});
    }

    std::size_t perturbations_;
};

}  // namespace

std::unique_ptr<Algorithm> make_decomfl(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<Decomfl>(config, parameters);
}

Status check_decomfl(const RunConfig& config) {
    ATOLL_TRY(check_scalar_tuning(config));
    // The log of the whole run is kept in memory and fetched by joiners in one piece.
    constexpr double kNumbersMax = 1U << 26U;
    const auto& options = config.algorithm;
    const double numbers = static_cast<double>(config.run.rounds) * static_cast<double>(options.inner_steps) *
                           static_cast<double>(options.perturbations);
    if (numbers <= kNumbersMax) return {};
    return Error{
        ErrorCode::invalid,
        fmt::format("run.rounds = {} times algorithm.inner_steps = {} times algorithm.perturbations = "
                    "{} are {:.3g} numbers to keep: expected at most {:.3g} (fedkseed keeps as many as "
                    "algorithm.candidate_seeds, however long the run)",
                    config.run.rounds, options.inner_steps, options.perturbations, numbers, kNumbersMax)};
}

}  // namespace Atoll::federation

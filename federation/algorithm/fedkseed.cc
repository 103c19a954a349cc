// FedKSeed (Qin et al. 2024, arXiv 2312.06353), without a server: the whole run moves along K candidate
// directions, so that K sums are the model, however long the run:
//
//   H times:  pick one of the K directions at random,  g = (L(theta + mu z) - L(theta - mu z)) / (2 mu)
//             theta <- theta - eta g z,   s_k <- s_k + g
//   A <- A + mean of the members' s                                   K numbers on the wire
//   theta <- theta_0 - eta sum_k A_k z_k
//
// Every member picks for itself: together they see more directions. That the order of the steps is forgotten
// is exact only for a constant rate eta and without weight decay.
#include <fmt/core.h>

#include <cmath>

#include "base/rng.h"
#include "federation/algorithm/entries.h"
#include "federation/algorithm/scalar_tuning.h"

namespace Atoll::federation {

namespace {

std::size_t candidates_of(const RunConfig& config) {
    return static_cast<std::size_t>(config.algorithm.candidate_seeds);
}

class Fedkseed final : public ScalarTuning {
  public:
    Fedkseed(const RunConfig& config, std::size_t parameters)
        : ScalarTuning(config, parameters, Replay::from_start, candidates_of(config), candidates_of(config)) {
    }

  protected:
    Result<StepResult> local_step(Worker& worker) override {
        const std::uint64_t step = worker.step();
        const std::uint64_t k = Rng(own_seed()).split("candidate", step).below(scalars().size());
        ATOLL_ASSIGN(const model::Slope slope, measure(worker, model::Draw::next, direction(k)));
        const kernels::NormalTerm move{direction(k), static_cast<float>(-learning_rate(step) * slope.value)};
        worker.add_normals({&move, 1});
        scalars()[k] += static_cast<float>(slope.value);
        worker.set_step(step + 1);
        return StepResult{slope.loss, slope.tokens, std::abs(slope.value), learning_rate(step)};
    }

    void record(std::span<const float> mean) override {
        for (std::size_t k = 0; k < mean.size(); ++k) numbers()[k] += mean[k];
    }

    std::vector<kernels::NormalTerm> terms(std::uint64_t, std::uint64_t) const override {
        std::vector<kernels::NormalTerm> terms;
        for (std::size_t k = 0; k < numbers().size(); ++k) {
            const double sum = numbers()[k];
            if (sum != 0) terms.push_back({direction(k), static_cast<float>(-learning_rate(0) * sum)});
        }
        return terms;
    }

    double norm_max() const override { return clip_norm() * static_cast<double>(inner_steps()); }

  private:
    std::uint64_t direction(std::uint64_t k) const { return Rng(seed()).split("candidates", k).bits64(); }
};

}  // namespace

std::unique_ptr<Algorithm> make_fedkseed(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<Fedkseed>(config, parameters);
}

Status check_fedkseed(const RunConfig& config) {
    ATOLL_TRY(check_scalar_tuning(config));
    if (config.schedule.name == "constant" && config.schedule.warmup_steps == 0) return {};
    return Error{
        ErrorCode::invalid,
        fmt::format("algorithm.name = fedkseed but schedule.name = {} and schedule.warmup_steps = {}: "
                    "expected constant and 0, as its sums forget which step measured what",
                    config.schedule.name, config.schedule.warmup_steps)};
}

}  // namespace Atoll::federation

// NoLoCo (Kolehmainen et al. 2025, arXiv 2506.10911): DiLoCo without all-reduce. Every member has slow
// weights phi_i and a momentum m_i of its own; in a round it meets its neighbours in W(t), by default one
// member drawn at random:
//
//   Delta_i = phi_i - theta_i after H inner steps
//   m_i   <- a m_i - b sum_j W_ij Delta_j + g (sum_j W_ij phi_j - phi_i)
//   phi_i <- phi_i + m_i,        theta_i <- phi_i
//
// The term with g pulls those that meet together; without it every round would add a difference. W being
// doubly stochastic, the mean of the phi_i follows plain momentum on the mean of the Delta_i, whoever meets.
// Our own variant lets W(t) walk through the null-cascade rounds (Niwa et al. 2025), after a period of which
// everybody has met everybody, instead of drawing pairs: see noloco_cascade.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "federation/algorithm/diloco.h"
#include "federation/algorithm/entries.h"

namespace Atoll::federation {

namespace {

// Outer heavy ball steps phi by m <- a m - b Delta, so the pull is a part of Delta.
class Noloco final : public Diloco {
  public:
    Noloco(const RunConfig& config, std::size_t parameters)
        : Diloco(config, parameters, make_outer(config, parameters)),
          pull_(static_cast<float>(config.algorithm.consensus_rate / config.algorithm.outer_learning_rate)) {}

  protected:
    void anchors_met(std::span<float> phi, std::span<const float> met, std::span<float> delta) override {
        for (std::size_t i = 0; i < phi.size(); ++i) delta[i] -= pull_ * (met[i] - phi[i]);
    }

  private:
    float pull_;  // g / b
};

}  // namespace

std::unique_ptr<Algorithm> make_noloco(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<Noloco>(config, parameters);
}

void noloco_defaults(RunConfig& config) {
    config.algorithm.inner_steps = 50;
    config.algorithm.outer_optimizer = "heavy_ball";
    config.algorithm.outer_learning_rate = 0.7;  // b
    config.algorithm.outer_momentum = 0.5;       // a
    config.algorithm.consensus_rate = 0.7;
    config.algorithm.anchor_slices = 1;  // all of phi, every round
    config.topology.name = "random_match";
}

void noloco_cascade_defaults(RunConfig& config) {
    noloco_defaults(config);
    config.topology.name = "null_cascade";
    config.topology.degree = 2;
}

namespace {

// Below which consensus_rate members stay together (docs/explanation/low_communication.md).
double consensus_limit(const RunConfig& config) {
    const double a = config.algorithm.outer_momentum;
    // Schedules that repeat can resonate with the momentum. No closed form: measured for groups of 2 to 20
    // and some of up to 64 members, with a margin.
    if (config.topology.name != "random_match") return std::min(1.5 * (1 - a), 3 * (1 - a) * (1 - a));
    // The variance X of the phi_i, that of the momenta M and their covariance C follow a linear recursion,
    // which shrinks if and only if g < 2 (1 - a^2).
    if (config.algorithm.anchor_slices == 1) return 2 * (1 - a * a);
    // By the next visit to a slice the momentum of a pull has run out: it has moved phi by g / (1 - a) times
    // half the difference, which shrinks X if and only if that is less than 2.
    return 2 * (1 - a);
}

}  // namespace

Status check_noloco(const RunConfig& config) {
    const auto& options = config.algorithm;
    const auto contradiction = [](std::string what) { return Error{ErrorCode::invalid, std::move(what)}; };
    if (options.outer_optimizer != "heavy_ball" || options.outer_learning_rate == 0) {
        return contradiction(fmt::format(
            "algorithm.name = {} but algorithm.outer_optimizer = {} and algorithm.outer_learning_rate = {}: "
            "expected heavy_ball and more than 0 (with others there is diloco)",
            options.name, options.outer_optimizer, options.outer_learning_rate));
    }
    if (options.anchor_slices == 0) {
        return contradiction(
            fmt::format("algorithm.name = {} without the anchors (algorithm.anchor_slices = 0) lets "
                        "members drift apart: expected 1 (all in every round) or more",
                        options.name));
    }
    if (options.anchor_slices > 1 && config.topology.name != "random_match") {
        return contradiction(fmt::format(
            "algorithm.anchor_slices = {} would let a slice meet the same members again and again "
            "in the schedule of topology.name = {}: expected 1, or random_match",
            options.anchor_slices, config.topology.name));
    }
    const double limit = consensus_limit(config);
    if (options.consensus_rate > 0 && options.consensus_rate < limit) return {};
    return contradiction(fmt::format(
        "algorithm.consensus_rate = {} does not hold members together at algorithm.outer_momentum "
        "= {}, algorithm.anchor_slices = {} and topology.name = {}: expected more than 0 and less "
        "than {:.3g}",
        options.consensus_rate, options.outer_momentum, options.anchor_slices, config.topology.name, limit));
}

}  // namespace Atoll::federation

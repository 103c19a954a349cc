// Fifty steps of each optimizer against the same trajectory in double, written from its equations.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "model/optim/optimizer.h"
#include "tests/model/toy_problem.h"

namespace Atoll::model {
namespace {

constexpr std::int64_t kSteps = 50;
constexpr double kRate = 0.02;

void expect_trajectory(const char* name, const OptimizerOptions& options,
                       const std::vector<double>& expected) {
    const auto ops = kernels::make_cpu_ops(2);
    const ToyProblem toy;
    auto optimizer = make_optimizer(name, *ops, toy.layout, options);
    ASSERT_TRUE(optimizer.ok()) << optimizer.error().message;
    kernels::FlatBuffer x = toy.start();
    toy.descend(**optimizer, x.span(), 1, kSteps, kRate);
    for (const auto& slot : toy.layout.slots()) {
        for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
            ASSERT_NEAR(x.span()[i], expected[i], 2e-5) << slot.name << ' ' << i;
        }
    }
}

TEST(AdamW, Fifty_steps_follow_the_equations) {
    const OptimizerOptions o{.beta1 = 0.85, .beta2 = 0.97, .epsilon = 1e-6, .weight_decay = 0.3};
    std::map<std::size_t, double> m, v;
    const auto update = [&](std::size_t i, std::int64_t step, double x, double g, bool matrix) {
        m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
        v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
        const double m_hat = m[i] / (1 - std::pow(o.beta1, step));
        const double v_hat = v[i] / (1 - std::pow(o.beta2, step));
        return x - kRate * (m_hat / (std::sqrt(v_hat) + o.epsilon) + (matrix ? o.weight_decay : 0) * x);
    };
    expect_trajectory("adamw", o, ToyProblem().trajectory_end(kSteps, update));
}

TEST(Sgd, Fifty_steps_with_momentum_follow_the_equations) {
    const OptimizerOptions o{.beta1 = 0.9, .weight_decay = 0.3};
    std::map<std::size_t, double> u;
    const auto update = [&](std::size_t i, std::int64_t, double x, double g, bool matrix) {
        u[i] = o.beta1 * u[i] + g;
        return x * (1 - (matrix ? kRate * o.weight_decay : 0)) - kRate * u[i];
    };
    expect_trajectory("sgd", o, ToyProblem().trajectory_end(kSteps, update));
}

TEST(Sgd, Fifty_plain_steps_follow_the_equation_and_keep_no_state) {
    const OptimizerOptions o{.beta1 = 0, .weight_decay = 0};
    const auto update = [](std::size_t, std::int64_t, double x, double g, bool) { return x - kRate * g; };
    expect_trajectory("sgd", o, ToyProblem().trajectory_end(kSteps, update));
    const auto ops = kernels::make_cpu_ops(1);
    EXPECT_TRUE((*make_optimizer("sgd", *ops, ToyProblem().layout, o))->state().empty());
}

}  // namespace
}  // namespace Atoll::model

// Fifty steps of each optimizer against the same trajectory in double, written from its equations.
#include <gtest/gtest.h>

#include <algorithm>
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

TEST(Adopt, Fifty_steps_follow_the_equations) {
    const OptimizerOptions o{.beta1 = 0.9, .beta2 = 0.97, .epsilon = 1e-6, .weight_decay = 0.3};
    std::map<std::size_t, double> m, v;
    const auto update = [&](std::size_t i, std::int64_t step, double x, double g, bool matrix) {
        if (step == 1) {
            v[i] = g * g;
            return x;
        }
        const double clip = std::pow(static_cast<double>(step - 1), 0.25);
        const double n = std::clamp(g / std::max(std::sqrt(v[i]), o.epsilon), -clip, clip);
        m[i] = o.beta1 * m[i] + (1 - o.beta1) * n;
        v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
        return x - kRate * (m[i] + (matrix ? o.weight_decay : 0) * x);
    };
    expect_trajectory("adopt", o, ToyProblem().trajectory_end(kSteps, update));
}

// Half-lives as the paper's appendix: f(beta) = ln 0.5 / ln beta - 1.
double slow_decay(double beta1, double beta3, double t, double horizon) {
    if (t >= horizon) return beta3;
    const auto life = [](double beta) { return std::log(0.5) / std::log(beta + 1e-8) - 1; };
    return std::pow(0.5, 1 / (1 + (1 - t / horizon) * life(beta1) + t / horizon * life(beta3)));
}

TEST(Ademamix, Fifty_steps_follow_the_equations) {
    EXPECT_NEAR(slow_decay(0.9, 0.999, 10, 1000), 0.94974, 1e-5);
    EXPECT_NEAR(slow_decay(0.9, 0.999, 500, 1000), 0.99802, 1e-5);
    const OptimizerOptions o{.beta1 = 0.9,
                             .beta2 = 0.97,
                             .epsilon = 1e-6,
                             .weight_decay = 0.3,
                             .beta3 = 0.99,
                             .alpha = 3,
                             .horizon_steps = 30};
    std::map<std::size_t, double> m, v, s;
    const auto update = [&](std::size_t i, std::int64_t step, double x, double g, bool matrix) {
        const auto t = static_cast<double>(step);
        const double beta3 = slow_decay(o.beta1, o.beta3, t, 30);
        m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
        v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
        s[i] = beta3 * s[i] + (1 - beta3) * g;
        const double mixed = m[i] / (1 - std::pow(o.beta1, t)) + o.alpha * std::min(1.0, t / 30) * s[i];
        const double root = std::sqrt(v[i] / (1 - std::pow(o.beta2, t)));
        return x - kRate * (mixed / (root + o.epsilon) + (matrix ? o.weight_decay : 0) * x);
    };
    expect_trajectory("ademamix", o, ToyProblem().trajectory_end(kSteps, update));
}

double sign(double x) { return x > 0 ? 1 : (x < 0 ? -1 : 0); }

// Signs flip where an average crosses zero: rounding decides there, so that the trajectory is followed only
// as far as no coordinate comes near (the rate keeps all away from the minimum for fifty steps).
constexpr double kSignRate = 0.0005;

void expect_sign_trajectory(const char* name, const OptimizerOptions& options,
                            const std::vector<double>& expected) {
    const auto ops = kernels::make_cpu_ops(2);
    const ToyProblem toy;
    const auto optimizer = make_optimizer(name, *ops, toy.layout, options).value();
    kernels::FlatBuffer x = toy.start();
    toy.descend(*optimizer, x.span(), 1, kSteps, kSignRate);
    for (const auto& slot : toy.layout.slots()) {
        for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
            ASSERT_NEAR(x.span()[i], expected[i], 5e-6) << slot.name << ' ' << i;
        }
    }
}

TEST(Lion, Fifty_steps_follow_the_equations) {
    const OptimizerOptions o{.beta1 = 0.9, .beta2 = 0.97, .weight_decay = 0.3};
    std::map<std::size_t, double> m;
    const auto update = [&](std::size_t i, std::int64_t, double x, double g, bool matrix) {
        const double direction = sign(o.beta1 * m[i] + (1 - o.beta1) * g);
        m[i] = o.beta2 * m[i] + (1 - o.beta2) * g;
        return x - kSignRate * (direction + (matrix ? o.weight_decay : 0) * x);
    };
    expect_sign_trajectory("lion", o, ToyProblem().trajectory_end(kSteps, update));
}

TEST(Signum, Fifty_steps_follow_the_equations_with_and_without_looking_ahead) {
    for (const bool nesterov : {true, false}) {
        const OptimizerOptions o{.beta1 = 0.9, .weight_decay = 0.3, .nesterov = nesterov};
        std::map<std::size_t, double> m;
        const auto update = [&](std::size_t i, std::int64_t, double x, double g, bool matrix) {
            m[i] = o.beta1 * m[i] + g;
            const double direction = sign(nesterov ? g + o.beta1 * m[i] : m[i]);
            return x - kSignRate * (direction + (matrix ? o.weight_decay : 0) * x);
        };
        expect_sign_trajectory("signum", o, ToyProblem().trajectory_end(kSteps, update));
    }
}

// In descend() the sampled gradient is the gradient itself, without the scale of clipping.
TEST(Sophia, Fifty_steps_follow_the_equations) {
    const OptimizerOptions o{.beta1 = 0.9,
                             .beta2 = 0.97,
                             .weight_decay = 0.3,
                             .rho = 0.04,
                             .curvature_interval = 7,
                             .batch_tokens = 100};
    std::map<std::size_t, double> m, h;
    const auto update = [&](std::size_t i, std::int64_t step, double x, double g, bool matrix) {
        if ((step - 1) % 7 == 0) h[i] = o.beta2 * h[i] + (1 - o.beta2) * (2 * g) * (2 * g);
        m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
        const double ratio = std::abs(m[i]) / (o.rho * 100 * h[i] + 1e-15);
        return x - kSignRate * (sign(m[i]) * std::min(ratio, 1.0) + (matrix ? o.weight_decay : 0) * x);
    };
    expect_sign_trajectory("sophia", o, ToyProblem().trajectory_end(kSteps, update));
}

}  // namespace
}  // namespace Atoll::model

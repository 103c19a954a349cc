// Steps by losses alone: the slope against closed forms, MeZO and DiZO against the same in double.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "kernels/reference.h"
#include "model/optim/optimizer.h"
#include "model/optim/spsa.h"
#include "tests/model/toy_problem.h"

namespace Atoll::model {
namespace {

using testing::HasSubstr;

TEST(Spsa, The_slope_of_a_quadratic_is_its_gradient_along_the_direction) {
    const ToyProblem toy;
    kernels::FlatBuffer x = toy.start();
    ToyObjective objective(toy, x.span());
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
        double expected = 0;  // a parabola's central difference is exact, whatever epsilon
        for (const auto& slot : toy.layout.slots()) {
            for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i)
                expected +=
                    toy.slope(i, static_cast<double>(x.span()[i])) * kernels::reference::normal(seed, i);
        }
        const auto slope = measure_slope(objective, Draw::next, seed, 0.05);
        ASSERT_TRUE(slope.ok());
        EXPECT_NEAR(slope->value, expected, 2e-4 * std::abs(expected) + 1e-4);
        EXPECT_EQ(slope->tokens, 1U);
    }
}

// E z z^T = I: the mean of slope times direction is the gradient, with the relative error sqrt((d + 1) / n).
TEST(Spsa, The_estimate_is_unbiased) {
    const ToyProblem toy;
    const kernels::FlatBuffer start = toy.start();
    kernels::FlatBuffer x = toy.start();
    ToyObjective objective(toy, x.span());
    constexpr std::uint64_t kSeeds = 20000;
    kernels::FlatBuffer mean(toy.layout.size());
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
        std::ranges::copy(start.span(), x.span().begin());
        const auto slope = measure_slope(objective, Draw::next, seed, 1e-2);
        const kernels::NormalTerm term{seed, static_cast<float>(slope->value / kSeeds)};
        kernels::add_normals({&term, 1}, 0, mean.data(), mean.size());
    }
    double error = 0, square = 0, product = 0, length = 0;
    for (const auto& slot : toy.layout.slots()) {
        for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
            const double g = toy.slope(i, static_cast<double>(start.span()[i]));
            const double m = mean.span()[i];
            error += (m - g) * (m - g);
            square += g * g;
            product += m * g;
            length += m * m;
        }
    }
    const double d = static_cast<double>(toy.layout.parameters());
    const double predicted = std::sqrt((d + 1) / static_cast<double>(kSeeds));
    EXPECT_NEAR(std::sqrt(error / square), predicted, 0.2 * predicted);  // three times its own 1 / sqrt(2 d)
    EXPECT_GT(product / std::sqrt(square * length), 0.99);
}

TEST(Spsa, Ten_thousand_steps_out_and_back_leave_the_parameters_where_they_were) {
    const ToyProblem toy;
    const kernels::FlatBuffer start = toy.start();
    kernels::FlatBuffer x = toy.start();
    ToyObjective objective(toy, x.span());
    for (std::uint64_t seed = 0; seed < 10000; ++seed)
        ASSERT_TRUE(measure_slope(objective, Draw::next, seed, 1e-3).ok());
    double moved = 0, square = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        moved += std::pow(static_cast<double>(x.span()[i]) - static_cast<double>(start.span()[i]), 2);
        square += std::pow(static_cast<double>(start.span()[i]), 2);
    }
    EXPECT_LT(std::sqrt(moved / square), 2e-5);
}

TEST(Spsa, A_loss_that_is_not_finite_ends_the_run_and_the_parameters_come_back) {
    const ToyProblem toy;
    kernels::FlatBuffer x = toy.start();
    const float before = x.span()[3];
    ToyObjective objective(toy, x.span());
    objective.scale = std::numeric_limits<double>::infinity();
    const auto slope = measure_slope(objective, Draw::next, 1, 1e-3);
    ASSERT_FALSE(slope.ok());
    EXPECT_EQ(slope.error().code, ErrorCode::failed);
    EXPECT_THAT(slope.error().message, HasSubstr("optimizer.learning_rate"));
    EXPECT_NEAR(x.span()[3], before, 1e-6);
}

TEST(Spsa, Slopes_are_cut_to_the_largest_norm) {
    EXPECT_EQ(clipped(3, 2), 2);
    EXPECT_EQ(clipped(-3, 2), -2);
    EXPECT_EQ(clipped(1.5, 2), 1.5);
    EXPECT_EQ(clipped(-300, 0), -300);
}

// In double, one step after the other, from the equations.
struct DoubleMezo {
    const ToyProblem& toy;
    const OptimizerOptions& o;
    double rate, clip;
    std::vector<double> x;

    template <typename Task>
    void each(Task task) {
        for (const auto& slot : toy.layout.slots()) {
            for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i)
                task(i, slot.shape.size() >= 2);
        }
    }
    double loss() const { return toy.loss<double>(x); }
    void step(std::uint64_t number) {
        const std::uint64_t seed = direction_seed(o.seed, number);
        std::vector<double> z(x.size());
        each([&](std::size_t i, bool) { z[i] = kernels::reference::normal(seed, i); });
        double slope = 0;
        for (const double sign : {1.0, -1.0}) {
            each([&](std::size_t i, bool) { x[i] += sign * o.perturbation * z[i]; });
            slope += sign * loss() / (2 * o.perturbation);
            each([&](std::size_t i, bool) { x[i] -= sign * o.perturbation * z[i]; });
        }
        const double g = std::clamp(slope, -clip, clip);
        each([&](std::size_t i, bool matrix) {
            if (matrix) x[i] *= 1 - rate * o.weight_decay;
            x[i] -= rate * g * z[i];
        });
    }
};

TEST(Mezo, Fifty_steps_follow_the_equations) {
    const ToyProblem toy;
    const auto ops = kernels::make_cpu_ops(2);
    const OptimizerOptions o{.weight_decay = 0.3, .seed = 5, .perturbation = 0.02};
    kernels::FlatBuffer x = toy.start();
    DoubleMezo reference{toy, o, 0.004, 8, {x.span().begin(), x.span().end()}};
    const auto optimizer = make_optimizer("mezo", *ops, toy.layout, o).value();
    ToyObjective objective(toy, x.span());
    for (std::int64_t step = 1; step <= 50; ++step) {
        const auto report = optimizer->forward_step({objective, x.span(), 0.004, 8, step});
        ASSERT_TRUE(report.ok());
        reference.step(static_cast<std::uint64_t>(step));
    }
    EXPECT_TRUE(optimizer->state().empty());
    reference.each([&](std::size_t i, bool) { ASSERT_NEAR(x.span()[i], reference.x[i], 3e-4) << i; });
}

TEST(Dizo, A_projection_follows_the_equations) {
    const ToyProblem toy;
    const auto ops = kernels::make_cpu_ops(2);
    const OptimizerOptions o{.weight_decay = 0,
                             .seed = 5,
                             .perturbation = 0.02,
                             .projection_interval = 10,
                             .projection_iterations = 6,
                             .projection_rate = 0.3,
                             .projection_perturbation = 0.05,
                             .projection_limit = 0.2,
                             .projection_tensors = "matrices"};
    kernels::FlatBuffer x = toy.start();
    DoubleMezo reference{toy, o, 0.01, 20, {x.span().begin(), x.span().end()}};
    const std::vector<double> start = reference.x;
    const auto optimizer = make_optimizer("dizo", *ops, toy.layout, o).value();
    ToyObjective objective(toy, x.span());
    for (std::int64_t step = 1; step <= 10; ++step) {
        ASSERT_TRUE(optimizer->forward_step({objective, x.span(), 0.01, 20, step}).ok());
        reference.step(static_cast<std::uint64_t>(step));
    }
    // The matrix is the only projected tensor: 6 x 16 values from offset 0.
    std::vector<double> way(96);
    double n = 0;
    for (std::size_t i = 0; i < 96; ++i) {
        way[i] = reference.x[i] - start[i];
        n += way[i] * way[i];
    }
    n = std::sqrt(n);
    ASSERT_GT(n, 0.1);
    const auto loss_at = [&](double gamma) {
        for (std::size_t i = 0; i < 96; ++i) reference.x[i] = start[i] + gamma / (n + 1e-8) * way[i];
        return reference.loss();
    };
    double gamma = n;
    for (std::uint64_t j = 0; j < 6; ++j) {
        const double limit = o.projection_limit / o.projection_perturbation * n;
        Rng draws = Rng(o.seed).split("projection", 10).split("iteration", j);
        const double u = std::clamp(draws.normal(), -limit, limit);
        const double eps = o.projection_perturbation;
        const double c = (loss_at(gamma + eps * u) - loss_at(gamma - eps * u)) / (2 * eps);
        gamma = std::clamp(gamma - o.projection_rate * n * c * u, (1 - o.projection_limit) * n,
                           (1 + o.projection_limit) * n);
    }
    EXPECT_NE(gamma, n);
    (void)loss_at(gamma);
    reference.each([&](std::size_t i, bool) { ASSERT_NEAR(x.span()[i], reference.x[i], 2e-4) << i; });
    // Ten steps drew ten batches, the projection six.
    EXPECT_EQ(objective.batches, 16U);
}

TEST(Dizo, With_factors_that_may_not_change_it_is_mezo) {
    const ToyProblem toy;
    const auto ops = kernels::make_cpu_ops(1);
    OptimizerOptions o{.weight_decay = 0, .projection_interval = 5, .projection_tensors = "matrices"};
    o.projection_limit = 0;
    kernels::FlatBuffer a = toy.start(), b = toy.start();
    ToyObjective objective_a(toy, a.span()), objective_b(toy, b.span());
    const auto mezo = make_optimizer("mezo", *ops, toy.layout, o).value();
    const auto dizo = make_optimizer("dizo", *ops, toy.layout, o).value();
    for (std::int64_t step = 1; step <= 20; ++step) {
        ASSERT_TRUE(mezo->forward_step({objective_a, a.span(), 0.01, 0, step}).ok());
        ASSERT_TRUE(dizo->forward_step({objective_b, b.span(), 0.01, 0, step}).ok());
    }
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a.span()[i], b.span()[i], 1e-4);
}

TEST(Dizo, Projects_the_tensors_it_is_told) {
    const auto ops = kernels::make_cpu_ops(1);
    const auto size_of_start = [&](const kernels::Layout& layout, const char* which) {
        const auto dizo = make_optimizer("dizo", *ops, layout, {.projection_tensors = which}).value();
        return dizo->state().front().values.size();
    };
    kernels::Layout llama;
    llama.add("model.embed_tokens.weight", {50, 16});
    llama.add("model.layers.0.self_attn.q_proj.weight", {32, 16});
    llama.add("model.layers.0.self_attn.k_proj.weight", {16, 16});
    llama.add("model.layers.0.self_attn.v_proj.weight", {16, 16});
    EXPECT_EQ(size_of_start(llama, "key_value"), 2U * 16 * 16);
    EXPECT_EQ(size_of_start(llama, "query_value"), 3U * 16 * 16);
    EXPECT_EQ(size_of_start(llama, "matrices"), 4U * 16 * 16);
    kernels::Layout gpt2;
    gpt2.add("transformer.h.0.attn.c_attn.weight", {48, 16});
    EXPECT_EQ(size_of_start(gpt2, "key_value"), 2U * 16 * 16);
    EXPECT_EQ(size_of_start(gpt2, "query_value"), 2U * 16 * 16);
}

}  // namespace
}  // namespace Atoll::model

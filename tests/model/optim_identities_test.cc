// What optimizers are when one of their settings is taken away: each other, or something simpler.
#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <cmath>

#include "model/optim/newton_schulz.h"
#include "model/optim/optimizer.h"
#include "tests/model/toy_problem.h"

namespace Atoll::model {
namespace {

constexpr double kRate = 0.01;

// `scale` multiplies the toy's gradients.
std::vector<float> after(const char* name, const OptimizerOptions& options, std::int64_t steps,
                         double scale = 0.5) {
    const auto ops = kernels::make_cpu_ops(1);
    const ToyProblem toy;
    const auto optimizer = make_optimizer(name, *ops, toy.layout, options).value();
    kernels::FlatBuffer x = toy.start(), gradient(x.size());
    for (std::int64_t step = 1; step <= steps; ++step) {
        for (const auto& slot : toy.layout.slots()) {
            for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i)
                gradient.span()[i] = toy.slope(i, x.span()[i]);
        }
        optimizer->step({.parameters = x.span(),
                         .gradients = gradient.span(),
                         .learning_rate = kRate,
                         .gradient_scale = scale,
                         .step = step});
    }
    return {x.span().begin(), x.span().end()};
}

void expect_near(const std::vector<float>& a, const std::vector<float>& b, double tolerance) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << i;
}

TEST(Identities, AdamWs_first_step_is_the_sign_of_the_gradient) {
    const ToyProblem toy;
    const kernels::FlatBuffer start = toy.start();
    const auto x = after("adamw", {.epsilon = 1e-20, .weight_decay = 0}, 1);
    for (const auto& slot : toy.layout.slots()) {
        for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
            const double sign = toy.slope(i, start.span()[i]) > 0 ? 1 : -1;
            ASSERT_NEAR(x[i], static_cast<double>(start.span()[i]) - kRate * sign, 1e-6) << i;
        }
    }
}

TEST(Identities, Ademamix_without_its_slow_average_is_AdamW) {
    expect_near(after("ademamix", {.alpha = 0}, 40), after("adamw", {}, 40), 1e-6);
}

// The gradients are small: MARS cuts those of a matrix that are longer than one.
TEST(Identities, Mars_without_correction_is_AdamW) {
    expect_near(after("mars", {.variance_reduction = 0}, 40, 0.05), after("adamw", {}, 40, 0.05), 1e-6);
}

TEST(Identities, Lion_with_equal_decays_follows_the_sign_of_one_average_and_Sophia_without_curvature_too) {
    const ToyProblem toy;
    const kernels::FlatBuffer start = toy.start();
    std::vector<double> x(start.span().begin(), start.span().end()), m(x.size());
    for (int step = 0; step < 10; ++step) {
        for (const auto& slot : toy.layout.slots()) {
            for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
                m[i] = 0.9 * m[i] + 0.1 * 0.5 * toy.slope(i, x[i]);
                x[i] -= kRate * (m[i] > 0 ? 1 : -1);
            }
        }
    }
    const auto lion = after("lion", {.beta1 = 0.9, .beta2 = 0.9, .weight_decay = 0}, 10);
    const auto sophia = after("sophia", {.beta1 = 0.9, .weight_decay = 0, .rho = 0}, 10);
    const auto& matrix = toy.layout.slots()[0];
    std::size_t apart = 0;  // coordinates whose average crossed zero within rounding
    for (std::size_t i = matrix.offset; i < matrix.offset + matrix.size; ++i) {
        apart += std::abs(lion[i] - x[i]) > 1e-5 ? 1 : 0;
        apart += std::abs(sophia[i] - x[i]) > 1e-5 ? 1 : 0;
    }
    EXPECT_LE(apart, 2U);
}

TEST(Identities, Newton_Schulz_brings_singular_values_near_one_and_D_Muons_update_to_a_fifth) {
    const auto ops = kernels::make_cpu_ops(2);
    NewtonSchulz newton_schulz(*ops);
    for (const auto& [rows, columns] : {std::pair{48, 96}, std::pair{96, 48}, std::pair{64, 64}}) {
        Rng rng(3);
        Eigen::MatrixXf g(rows, columns);
        for (Eigen::Index i = 0; i < g.size(); ++i) g.data()[i] = static_cast<float>(rng.normal());
        using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
        RowMajor x = g;
        newton_schulz.orthogonalize(x.data(), rows, columns);
        const Eigen::VectorXf before = g.jacobiSvd().singularValues() / g.norm();
        const Eigen::VectorXf values = Eigen::MatrixXf(x).jacobiSvd().singularValues();
        EXPECT_LT(values.maxCoeff(), 1.21);
        if (before.minCoeff() >= 0.01) {
            EXPECT_GT(values.minCoeff(), 0.68);
        }
        const double rms = static_cast<double>(x.norm()) / std::sqrt(static_cast<double>(rows * columns));
        const double update = 0.2 * std::sqrt(static_cast<double>(std::max(rows, columns))) * rms;
        EXPECT_GT(update, 0.15) << rows << " x " << columns;
        EXPECT_LT(update, 0.2) << rows << " x " << columns;
    }
}

}  // namespace
}  // namespace Atoll::model

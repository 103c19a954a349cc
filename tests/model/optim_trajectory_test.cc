// Fifty steps of the optimizers whose state couples coordinates, or that take gradients elsewhere, against
// the same trajectory in double, written from the papers' equations.
#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <cmath>
#include <functional>

#include "model/optim/optimizer.h"
#include "tests/model/toy_problem.h"

namespace Atoll::model {
namespace {

constexpr std::int64_t kSteps = 50;
using Vector = std::vector<double>;

// The toy problem in double: whole vectors, without the padding.
struct DoubleToy {
    ToyProblem toy;
    Vector x;
    std::vector<bool> used;

    DoubleToy() : used(toy.layout.size(), false) {
        const kernels::FlatBuffer start = toy.start();
        x.assign(start.span().begin(), start.span().end());
        for (const auto& slot : toy.layout.slots()) {
            for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) used[i] = true;
        }
    }
    [[nodiscard]] Vector gradient(const Vector& at) const {
        Vector g(at.size(), 0.0);
        for (std::size_t i = 0; i < at.size(); ++i) {
            if (used[i]) g[i] = 0.5 * toy.slope(i, at[i]);
        }
        return g;
    }
    [[nodiscard]] bool decays(std::size_t i) const { return i < toy.layout.slots()[0].size; }
};

void expect_parameters(const char* name, const OptimizerOptions& options, double rate,
                       const DoubleToy& expected, double tolerance = 2e-5) {
    const auto ops = kernels::make_cpu_ops(2);
    auto optimizer = make_optimizer(name, *ops, expected.toy.layout, options);
    ASSERT_TRUE(optimizer.ok()) << optimizer.error().message;
    kernels::FlatBuffer x = expected.toy.start();
    expected.toy.descend(**optimizer, x.span(), 1, kSteps, rate);
    for (std::size_t i = 0; i < x.size(); ++i) {
        ASSERT_NEAR(x.span()[i], expected.x[i], tolerance) << i;
    }
}

TEST(Mars, Fifty_steps_follow_the_equations) {
    const OptimizerOptions o{
        .beta1 = 0.9, .beta2 = 0.97, .epsilon = 1e-6, .weight_decay = 0.3, .variance_reduction = 0.05};
    constexpr double kRate = 0.02;
    DoubleToy d;
    Vector m(d.x.size(), 0.0), v = m, previous = m;
    for (std::int64_t t = 1; t <= kSteps; ++t) {
        const Vector g = d.gradient(d.x);
        Vector c = g;
        double norm = 0;
        for (std::size_t i = 0; i < g.size(); ++i) {
            if (!d.decays(i)) continue;
            c[i] = g[i] + o.variance_reduction * o.beta1 / (1 - o.beta1) * (g[i] - previous[i]);
            norm += c[i] * c[i];
        }
        norm = std::sqrt(norm);
        previous = g;
        for (std::size_t i = 0; i < g.size(); ++i) {
            if (d.decays(i) && norm > 1) c[i] /= norm;
            m[i] = o.beta1 * m[i] + (1 - o.beta1) * c[i];
            v[i] = o.beta2 * v[i] + (1 - o.beta2) * c[i] * c[i];
            const double ratio = m[i] / (1 - std::pow(o.beta1, t)) /
                                 (std::sqrt(v[i] / (1 - std::pow(o.beta2, t))) + o.epsilon);
            d.x[i] -= kRate * (ratio + (d.decays(i) ? o.weight_decay : 0) * d.x[i]);
        }
    }
    expect_parameters("mars", o, kRate, d);
}

// Defazio et al. 2024, in x and z; ours keeps z - x.
TEST(ScheduleFree, Fifty_steps_follow_the_equations) {
    const OptimizerOptions o{.beta1 = 0.9, .beta2 = 0.97, .epsilon = 1e-6, .weight_decay = 0.3};
    constexpr double kRate = 0.02;
    DoubleToy d;
    Vector z = d.x, v(d.x.size(), 0.0);
    double weights = 0;
    for (std::int64_t t = 1; t <= kSteps; ++t) {
        Vector y(z.size());
        for (std::size_t i = 0; i < y.size(); ++i) y[i] = (1 - o.beta1) * z[i] + o.beta1 * d.x[i];
        const Vector g = d.gradient(y);
        weights += kRate * kRate;
        const double share = kRate * kRate / weights;
        for (std::size_t i = 0; i < y.size(); ++i) {
            v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
            const double ratio = g[i] / (std::sqrt(v[i] / (1 - std::pow(o.beta2, t))) + o.epsilon);
            z[i] -= kRate * (ratio + (d.decays(i) ? o.weight_decay : 0) * y[i]);
            d.x[i] = (1 - share) * d.x[i] + share * z[i];
        }
    }
    expect_parameters("schedule_free", o, kRate, d);
}

TEST(Prodigy, Fifty_steps_follow_the_equations_and_the_gradients_scale_does_not_matter) {
    const OptimizerOptions o{.beta1 = 0.9, .beta2 = 0.97, .epsilon = 1e-8, .weight_decay = 0};
    DoubleToy d;
    const Vector start = d.x;
    Vector m(d.x.size(), 0.0), v = m, s = m;
    double distance = 1e-6, r = 0;
    for (std::int64_t t = 1; t <= kSteps; ++t) {
        const Vector g = d.gradient(d.x);
        const double q = distance * std::sqrt(1 - std::pow(o.beta2, t)) / (1 - std::pow(o.beta1, t));
        const double beta3 = std::sqrt(o.beta2), weight = distance / 1e-6 * q;
        double dot = 0, absolute = 0;
        for (std::size_t i = 0; i < g.size(); ++i) {
            dot += g[i] * (start[i] - d.x[i]);
            m[i] = o.beta1 * m[i] + distance * (1 - o.beta1) * g[i];
            v[i] = o.beta2 * v[i] + distance * distance * (1 - o.beta2) * g[i] * g[i];
            s[i] = beta3 * s[i] + weight * g[i];
            absolute += std::abs(s[i]);
        }
        r = beta3 * r + weight * dot;
        distance = std::max(distance, r / absolute);
        for (std::size_t i = 0; i < g.size(); ++i) {
            if (!d.used[i]) continue;
            d.x[i] -= q * m[i] / (std::sqrt(v[i]) + distance * o.epsilon);
            // The first steps are a few units in the last place: what fp32 parameters lose there is part of
            // the algorithm.
            d.x[i] = static_cast<double>(static_cast<float>(d.x[i]));
        }
    }
    EXPECT_GT(distance, 1e-5);  // the estimate has grown
    expect_parameters("prodigy", o, 1, d, 2e-3);

    const auto ops = kernels::make_cpu_ops(1);
    const auto run = [&](float scale) {
        OptimizerOptions unscaled = o;
        unscaled.epsilon = 0;
        const auto optimizer = make_optimizer("prodigy", *ops, d.toy.layout, unscaled).value();
        kernels::FlatBuffer x = d.toy.start(), g(x.size());
        for (std::int64_t t = 1; t <= kSteps; ++t) {
            for (std::size_t i = 0; i < x.size(); ++i) {
                g.span()[i] = d.used[i] ? scale * d.toy.slope(i, x.span()[i]) : 0;
            }
            optimizer->step({.parameters = x.span(), .gradients = g.span(), .learning_rate = 1, .step = t});
        }
        return std::vector<float>(x.span().begin(), x.span().end());
    };
    const auto once = run(1), many = run(1024);
    for (std::size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(once[i], many[i], 1e-5) << i;
}

Eigen::MatrixXd newton_schulz(const Eigen::MatrixXd& g) {
    Eigen::MatrixXd x = g / (g.norm() + 1e-7);
    const bool tall = x.rows() > x.cols();
    if (tall) x.transposeInPlace();
    for (int i = 0; i < 5; ++i) {
        const Eigen::MatrixXd a = x * x.transpose();
        x = (3.4445 * x + (-4.7750 * a + 2.0315 * a * a) * x).eval();
    }
    if (tall) x.transposeInPlace();
    return x;
}

void muon_trajectory(const char* name, bool decayed) {
    const OptimizerOptions o{.beta1 = 0.85, .beta2 = 0.97, .epsilon = 1e-6, .weight_decay = 0.3};
    constexpr double kRate = 0.01;
    DoubleToy d;
    const auto& matrix = d.toy.layout.slots()[0];
    const std::int64_t rows = matrix.shape[0], columns = matrix.shape[1];
    Vector m(d.x.size(), 0.0), v = m;
    for (std::int64_t t = 1; t <= kSteps; ++t) {
        const Vector g = d.gradient(d.x);
        Eigen::MatrixXd ahead(rows, columns);
        for (std::size_t i = 0; i < matrix.size; ++i) {
            m[i] = o.momentum * m[i] + g[i];
            const auto at = static_cast<Eigen::Index>(i);
            ahead(at / columns, at % columns) = g[i] + o.momentum * m[i];
        }
        const Eigen::MatrixXd step = newton_schulz(ahead);
        const double longest = static_cast<double>(std::max(rows, columns));
        const double scale =
            decayed ? 0.2 * std::sqrt(longest)
                    : o.matrix_rate_ratio *
                          std::sqrt(std::max(1.0, static_cast<double>(rows) / static_cast<double>(columns)));
        for (std::size_t i = 0; i < matrix.size; ++i) {
            const auto at = static_cast<Eigen::Index>(i);
            if (decayed) d.x[i] *= 1 - kRate * o.weight_decay;
            d.x[i] -= kRate * scale * step(at / columns, at % columns);
        }
        for (std::size_t i = matrix.size; i < d.x.size(); ++i) {
            m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
            v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
            d.x[i] -= kRate * m[i] / (1 - std::pow(o.beta1, t)) /
                      (std::sqrt(v[i] / (1 - std::pow(o.beta2, t))) + o.epsilon);
        }
    }
    expect_parameters(name, o, kRate, d, 2e-4);
}

TEST(Muon, Fifty_steps_follow_the_equations) { muon_trajectory("muon", false); }
TEST(DMuon, Fifty_steps_follow_the_equations) { muon_trajectory("d_muon", true); }

// A square matrix: both covariances have full rank from the first step on, so that the eigenbases are unique
// but for signs, which cancel.
TEST(Soap, Fifty_steps_follow_the_equations) {
    constexpr Eigen::Index kSide = 5;
    constexpr double kRate = 0.01;
    const OptimizerOptions o{.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1};
    kernels::Layout layout;
    layout.add("matrix", {kSide, kSide});
    Rng rng(5);
    Eigen::MatrixXd x(kSide, kSide), curvature(kSide, kSide);
    for (Eigen::Index i = 0; i < kSide * kSide; ++i) {
        x(i / kSide, i % kSide) = static_cast<double>(static_cast<float>(rng.normal()));
        curvature(i / kSide, i % kSide) = 0.1 + 1.9 * rng.uniform();
    }
    const auto slope = [&](const Eigen::MatrixXd& at) {
        return Eigen::MatrixXd(curvature.cwiseProduct((at.array() - 0.5).matrix()));
    };
    const auto ops = kernels::make_cpu_ops(1);
    const auto optimizer = make_optimizer("soap", *ops, layout, o).value();
    kernels::FlatBuffer ours(layout.size()), gradient(layout.size());
    for (Eigen::Index i = 0; i < kSide * kSide; ++i) {
        ours.data()[i] = static_cast<float>(x(i / kSide, i % kSide));
    }

    Eigen::MatrixXd left = Eigen::MatrixXd::Zero(kSide, kSide), right = left, m = left, v = left;
    Eigen::MatrixXd left_basis, right_basis;
    const auto order = [&](const Eigen::MatrixXd& covariance, Eigen::MatrixXd& basis, bool rows) {
        const Eigen::VectorXd quotients = (basis.transpose() * covariance * basis).diagonal();
        std::vector<Eigen::Index> by(kSide);
        for (Eigen::Index i = 0; i < kSide; ++i) by[static_cast<std::size_t>(i)] = i;
        std::ranges::sort(by, [&](auto a, auto b) { return quotients(a) > quotients(b); });
        Eigen::MatrixXd sorted(kSide, kSide), moments(kSide, kSide);
        for (Eigen::Index i = 0; i < kSide; ++i) {
            sorted.col(i) = basis.col(by[static_cast<std::size_t>(i)]);
            if (rows) moments.row(i) = v.row(by[static_cast<std::size_t>(i)]);
            if (!rows) moments.col(i) = v.col(by[static_cast<std::size_t>(i)]);
        }
        v = moments;
        basis = Eigen::HouseholderQR<Eigen::MatrixXd>(covariance * sorted).householderQ();
    };
    for (std::int64_t step = 1; step <= kSteps; ++step) {
        // Without noise the second gradient would be diagonal in the first one's bases, and rounding would
        // decide about the signs of the zeros.
        Eigen::MatrixXd noise(kSide, kSide);
        for (Eigen::Index i = 0; i < kSide * kSide; ++i) {
            noise(i / kSide, i % kSide) = rng.normal();
            const auto at = static_cast<double>(ours.data()[i]);
            gradient.data()[i] = static_cast<float>(curvature(i / kSide, i % kSide) * (at - 0.5) +
                                                    noise(i / kSide, i % kSide));
        }
        optimizer->step(
            {.parameters = ours.span(), .gradients = gradient.span(), .learning_rate = kRate, .step = step});

        const Eigen::MatrixXd g = slope(x) + noise;
        const std::int64_t t = step - 1;
        if (t > 0) {
            const Eigen::MatrixXd rotated = left_basis.transpose() * g * right_basis;
            m = o.beta1 * m + (1 - o.beta1) * g;
            v = o.beta2 * v + (1 - o.beta2) * rotated.cwiseProduct(rotated);
            const Eigen::MatrixXd mean = left_basis.transpose() * m * right_basis;
            const Eigen::MatrixXd ratio = mean.array() / (v.array().sqrt() + o.epsilon);
            x -= kRate * std::sqrt(1 - std::pow(o.beta2, t)) / (1 - std::pow(o.beta1, t)) * left_basis *
                 ratio * right_basis.transpose();
            x *= 1 - kRate * o.weight_decay;
        }
        left = o.beta2 * left + (1 - o.beta2) * g * g.transpose();
        right = o.beta2 * right + (1 - o.beta2) * g.transpose() * g;
        if (t == 0) {
            left_basis = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(left).eigenvectors();
            right_basis = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(right).eigenvectors();
        } else if (t % o.precondition_interval == 0) {
            order(left, left_basis, true);
            order(right, right_basis, false);
        }
    }
    for (Eigen::Index i = 0; i < kSide * kSide; ++i) {
        EXPECT_NEAR(ours.data()[i], x(i / kSide, i % kSide), 1e-3) << i;
    }
}

TEST(Soap, With_identity_bases_is_Adam_one_step_later) {
    OptimizerOptions o{.beta1 = 0.9, .beta2 = 0.97, .epsilon = 1e-8, .weight_decay = 0};
    o.precondition_side_max = 0;
    constexpr double kRate = 0.02;
    DoubleToy d;
    Vector m(d.x.size(), 0.0), v = m;
    for (std::int64_t step = 1; step <= kSteps; ++step) {
        const Vector g = d.gradient(d.x);
        for (std::size_t i = 0; i < g.size(); ++i) {
            const std::int64_t t = d.decays(i) ? step - 1 : step;  // the vector follows AdamW
            if (t == 0) continue;
            m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
            v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
            const double root = std::sqrt(1 - std::pow(o.beta2, t));
            const double epsilon = d.decays(i) ? o.epsilon : o.epsilon * root;
            d.x[i] -= kRate * root / (1 - std::pow(o.beta1, t)) * m[i] / (std::sqrt(v[i]) + epsilon);
        }
    }
    expect_parameters("soap", o, kRate, d);
}

TEST(AdamMini, Fifty_steps_follow_the_equations) {
    const OptimizerOptions o{.beta1 = 0.9, .beta2 = 0.97, .epsilon = 1e-6, .weight_decay = 0.3};
    constexpr double kRate = 0.02;
    DoubleToy d;
    const auto& slots = d.toy.layout.slots();
    Vector m(d.x.size(), 0.0), v(slots[0].size / 16 + 1, 0.0);
    for (std::int64_t t = 1; t <= kSteps; ++t) {
        const Vector g = d.gradient(d.x);
        for (std::size_t block = 0; block < v.size(); ++block) {
            const bool matrix = block + 1 < v.size();
            const std::size_t begin = matrix ? 16 * block : slots[1].offset;
            const std::size_t length = matrix ? 16 : slots[1].size;
            double mean = 0;
            for (std::size_t i = begin; i < begin + length; ++i) mean += g[i] * g[i];
            v[block] = o.beta2 * v[block] + (1 - o.beta2) * mean / static_cast<double>(length);
            for (std::size_t i = begin; i < begin + length; ++i) {
                m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
                const double ratio = m[i] / (1 - std::pow(o.beta1, t)) /
                                     (std::sqrt(v[block] / (1 - std::pow(o.beta2, t))) + o.epsilon);
                d.x[i] -= kRate * (ratio + (matrix ? o.weight_decay : 0) * d.x[i]);
            }
        }
    }
    expect_parameters("adam_mini", o, kRate, d);
}

}  // namespace
}  // namespace Atoll::model

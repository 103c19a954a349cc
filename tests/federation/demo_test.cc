// DeMo against its algorithm 1 in double precision: the cosine transform by its definition, one tile.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/rng.h"
#include "tests/federation/member_cluster.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::small_run;

constexpr std::size_t kMembers = 3;
constexpr std::size_t kSide = 64;
constexpr std::size_t kTile = kSide * kSide;
constexpr std::size_t kKept = 32;
constexpr double kRate = 0.01;
using Vector = std::vector<double>;

// Smooth in the tile, with noise, other for every member and step; parameters have no influence.
Vector gradient_of(std::size_t member, std::uint64_t step) {
    Rng rng = Rng(9).split("gradient", member).split("step", step);
    Vector g(kTile);
    const double phase = 6 * rng.uniform();
    for (std::size_t i = 0; i < kTile; ++i) {
        const double row = static_cast<double>(i / kSide);
        const double column = static_cast<double>(i % kSide);
        g[i] = std::cos(0.1 * row + phase) + std::sin(0.2 * column * phase) + 0.5 * rng.normal();
    }
    return g;
}

class GivenGradients : public Worker {
  public:
    explicit GivenGradients(std::size_t member) : member_(member) {
        layout_.add("w", {kSide, kSide});
        parameters_ = kernels::FlatBuffer(layout_.size());
        std::ranges::fill(parameters_.span(), 1.0F);
    }
    [[nodiscard]] const kernels::Layout& layout() const override { return layout_; }
    [[nodiscard]] std::span<float> parameters() override { return parameters_.span(); }
    void parameters_changed() override {}
    [[nodiscard]] Result<StepResult> inner_step() override {
        return Error{ErrorCode::failed, "DeMo steps itself"};
    }
    [[nodiscard]] Result<StepResult> gradient(std::span<float> gradient) override {
        std::ranges::transform(gradient_of(member_, step_), gradient.begin(),
                               [](double g) { return static_cast<float>(g); });
        return StepResult{.tokens = 1, .learning_rate = kRate};
    }
    [[nodiscard]] Result<double> validation_loss() override { return std::nan(""); }
    [[nodiscard]] std::uint64_t step() const override { return step_; }
    void set_step(std::uint64_t step) override { step_ = step; }

  private:
    std::size_t member_;
    kernels::Layout layout_;
    kernels::FlatBuffer parameters_;
    std::uint64_t step_ = 0;
};

RunConfig demo(std::int64_t rounds) {
    RunConfig config = small_run();
    Options options;
    bind(options, config);
    EXPECT_TRUE(options.set("algorithm.name", "demo", "test").ok());
    config.optimizer.weight_decay = 0.1;
    config.optimizer.clip_norm = 0;
    config.run.rounds = rounds;
    EXPECT_TRUE(validate(config).ok()) << validate(config).error().message;
    return config;
}

// Orthonormal DCT-II along one axis of the tile, or its inverse.
Vector cosine_transform(const Vector& tile, bool rows, bool inverse) {
    Vector out(kTile);
    const auto at = [&](std::size_t line, std::size_t i) {
        return rows ? line * kSide + i : i * kSide + line;
    };
    for (std::size_t line = 0; line < kSide; ++line) {
        for (std::size_t f = 0; f < kSide; ++f) {
            const double norm = std::sqrt((f == 0 ? 1.0 : 2.0) / kSide);
            for (std::size_t i = 0; i < kSide; ++i) {
                const double angle = std::numbers::pi * (2 * static_cast<double>(i) + 1) *
                                     static_cast<double>(f) / (2 * kSide);
                const double basis = norm * std::cos(angle);
                if (inverse) {
                    out[at(line, i)] += basis * tile[at(line, f)];
                } else {
                    out[at(line, f)] += basis * tile[at(line, i)];
                }
            }
        }
    }
    return out;
}

// The 32 largest coefficients of m, with 8 significant bits each.
Vector fast_components(const Vector& m) {
    Vector spectrum = cosine_transform(cosine_transform(m, true, false), false, false);
    std::vector<std::size_t> order(kTile);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(
        order, [&](std::size_t a, std::size_t b) { return std::abs(spectrum[a]) > std::abs(spectrum[b]); });
    for (std::size_t i = 0; i < kTile; ++i) {
        double& c = spectrum[order[i]];
        int exponent = 0;
        const double mantissa = std::frexp(c, &exponent);
        c = i < kKept ? std::ldexp(std::round(mantissa * 256), exponent - 8) : 0;
    }
    return cosine_transform(cosine_transform(spectrum, false, true), true, true);
}

TEST(DeMo, Follows_algorithm_1_in_double_precision) {
    constexpr std::int64_t kRounds = 4;
    const RunConfig config = demo(kRounds);
    Cluster cluster(config, kMembers, [](std::size_t i) { return std::make_unique<GivenGradients>(i); });
    std::vector<std::vector<float>> momenta(kMembers);
    for (std::size_t m = 0; m < kMembers; ++m) {
        cluster[m].record.at_round = [&, m](const RoundReport&, Algorithm& algorithm) {
            for (const StateVector& vector : algorithm.state()) {
                if (vector.name == "momentum") momenta[m] = {vector.values.begin(), vector.values.end()};
            }
        };
    }
    ASSERT_TRUE(cluster.run_all());

    std::vector<Vector> m(kMembers, Vector(kTile));
    Vector x(kTile, 1.0);
    std::vector<bool> close_call(kTile);  // where the mean is too near to zero for its sign to be certain
    for (std::uint64_t t = 0; t < kRounds; ++t) {
        Vector mean(kTile);
        for (std::size_t i = 0; i < kMembers; ++i) {
            const Vector g = gradient_of(i, t);
            for (std::size_t j = 0; j < kTile; ++j) m[i][j] = 0.999 * m[i][j] + kRate * g[j];
            const Vector q = fast_components(m[i]);
            for (std::size_t j = 0; j < kTile; ++j) {
                m[i][j] -= q[j];
                mean[j] += q[j] / kMembers;
            }
        }
        for (std::size_t j = 0; j < kTile; ++j) {
            if (std::abs(mean[j]) < 1e-6) close_call[j] = true;
            x[j] = (1 - kRate * 0.1) * x[j] - kRate * (mean[j] > 0 ? 1 : -1);
        }
    }
    EXPECT_LT(std::ranges::count(close_call, true), 20);
    for (std::size_t i = 0; i < kMembers; ++i) {
        ASSERT_EQ(momenta[i].size(), kTile);
        for (std::size_t j = 0; j < kTile; ++j) {
            ASSERT_NEAR(momenta[i][j], m[i][j], 1e-6) << i << " " << j;
            if (close_call[j]) continue;
            ASSERT_NEAR(cluster.parameters(i)[j], x[j], 1e-6) << i << " " << j;
        }
    }
    for (std::size_t i = 1; i < kMembers; ++i) {
        EXPECT_TRUE(std::ranges::equal(cluster.parameters(i), cluster.parameters(0)));
    }
}

TEST(DeMo, Sends_32_coefficients_of_4096_values_a_step) {
    constexpr std::int64_t kRounds = 5;
    RunConfig config = demo(kRounds);
    config.algorithm.anchor_slices = 0;
    Cluster cluster(config, kMembers, [](std::size_t i) { return std::make_unique<GivenGradients>(i); });
    ASSERT_TRUE(cluster.run_all());
    for (const RoundReport& report : cluster[0].record.rounds) {
        EXPECT_EQ(report.average.bytes_sent, (kMembers - 1) * (kKept * 12 / 8 + kKept * 2));
    }
}

TEST(DeMo, Alone_it_does_what_it_would_do_among_equals) {
    const RunConfig config = demo(6);
    const auto equal = [](std::size_t) { return std::make_unique<GivenGradients>(0); };
    Cluster one(config, 1, equal);
    Cluster two(config, 2, equal);
    ASSERT_TRUE(one.run_all());
    ASSERT_TRUE(two.run_all());
    EXPECT_TRUE(std::ranges::equal(one.parameters(0), two.parameters(0)));
}

// Parameters that differ, however that came, meet again through their slices.
TEST(DeMo, Parameters_that_drifted_apart_meet_again) {
    RunConfig config = demo(20);
    config.algorithm.anchor_slices = 8;
    Cluster cluster(config, 2, [](std::size_t i) { return std::make_unique<GivenGradients>(i); });
    for (float& value : cluster.parameters(1)) value = 1.5F;
    ASSERT_TRUE(cluster.run_all());
    EXPECT_LT(testing::distance(cluster.parameters(0), cluster.parameters(1)), 1e-4);
}

}  // namespace
}  // namespace Atoll::federation

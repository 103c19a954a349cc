// Every outer optimizer of the table keeps these promises.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/rng.h"
#include "federation/outer/outer.h"

namespace Atoll::federation {
namespace {

constexpr std::size_t kSize = 48;
constexpr OuterOptions kOptions{.learning_rate = 0.7, .momentum = 0.9};

std::vector<float> random_vector(std::uint64_t seed) {
    Rng rng = Rng(seed).split("delta");
    std::vector<float> values(kSize);
    for (float& value : values) value = static_cast<float>(rng.normal());
    return values;
}

class OuterContract : public ::testing::TestWithParam<OuterEntry> {
  protected:
    std::unique_ptr<OuterOptimizer> make() { return GetParam().make(kOptions, kSize); }
};

TEST_P(OuterContract, Zero_update_does_not_move_a_fresh_one) {
    auto outer = make();
    std::vector<float> anchor = random_vector(1);
    outer->step(anchor, std::vector<float>(kSize));
    EXPECT_EQ(anchor, random_vector(1));
}

TEST_P(OuterContract, Saved_and_restored_midway_gives_the_same_bits) {
    auto one = make();
    auto two = make();
    std::vector<float> a = random_vector(1);
    for (std::uint64_t i = 0; i < 5; ++i) one->step(a, random_vector(10 + i));
    std::vector<float> b = a;
    const auto saved = one->state();
    const auto restored = two->state();
    ASSERT_EQ(saved.size(), restored.size());
    for (std::size_t i = 0; i < saved.size(); ++i) {
        EXPECT_EQ(saved[i].name, restored[i].name);
        std::copy(saved[i].values.begin(), saved[i].values.end(), restored[i].values.begin());
    }
    for (std::uint64_t i = 5; i < 10; ++i) {
        one->step(a, random_vector(10 + i));
        two->step(b, random_vector(10 + i));
    }
    EXPECT_EQ(a, b);
}

TEST_P(OuterContract, Converges_when_updates_point_away_from_a_minimum) {
    auto outer = make();
    std::vector<float> anchor = random_vector(1);
    for (int i = 0; i < 300; ++i) {
        std::vector<float> delta = anchor;
        for (float& value : delta) value *= 0.1F;
        outer->step(anchor, delta);
    }
    for (const float value : anchor) EXPECT_NEAR(value, 0, 1e-4);
}

TEST_P(OuterContract, Fragments_one_after_the_other_do_what_one_step_does) {
    auto whole = make();
    auto parts = make();
    std::vector<float> a = random_vector(1);
    std::vector<float> b = a;
    for (std::uint64_t i = 0; i < 5; ++i) {
        const std::vector<float> delta = random_vector(20 + i);
        whole->step(a, delta);
        parts->step_range(32, std::span(b).subspan(32), std::span(delta).subspan(32));
        parts->step_range(0, std::span(b).first(32), std::span(delta).first(32));
    }
    EXPECT_EQ(a, b);
}

INSTANTIATE_TEST_SUITE_P(Table, OuterContract,
                         ::testing::ValuesIn(outer_optimizers().begin(), outer_optimizers().end()),
                         [](const auto& entry) { return std::string(entry.param.name); });

// ---- the paper's Nesterov, Douillard et al. 2023, algorithm 1 ----

TEST(OuterNesterov, Both_algebraic_forms_agree_and_heavy_ball_does_not) {
    auto outer = make_outer_optimizer("nesterov", kOptions, kSize);
    ASSERT_TRUE(outer.ok());
    std::vector<float> anchor(kSize);
    std::vector<double> other(kSize), velocity(kSize), heavy(kSize), heavy_velocity(kSize);
    double scale = 0;
    for (std::uint64_t i = 0; i < 50; ++i) {
        const std::vector<float> delta = random_vector(i);
        (*outer)->step(anchor, delta);
        for (std::size_t j = 0; j < kSize; ++j) {
            const double d = delta[j];
            velocity[j] = kOptions.momentum * velocity[j] + kOptions.learning_rate * d;
            other[j] -= kOptions.momentum * velocity[j] + kOptions.learning_rate * d;
            heavy_velocity[j] = kOptions.momentum * heavy_velocity[j] + d;
            heavy[j] -= kOptions.learning_rate * heavy_velocity[j];
        }
    }
    double heavy_difference = 0;
    for (std::size_t j = 0; j < kSize; ++j) {
        scale = std::max(scale, std::abs(other[j]));
        heavy_difference = std::max(heavy_difference, std::abs(anchor[j] - heavy[j]));
    }
    for (std::size_t j = 0; j < kSize; ++j) EXPECT_NEAR(anchor[j], other[j], 1e-6 * scale);
    EXPECT_GT(heavy_difference, 0.5);
}

TEST(OuterNesterov, Constant_updates_end_in_a_displacement_of_rate_over_one_minus_momentum) {
    auto outer = make_outer_optimizer("nesterov", kOptions, kSize);
    ASSERT_TRUE(outer.ok());
    std::vector<float> anchor(kSize);
    const std::vector<float> delta(kSize, 1.0F / 64);
    float before = 0;
    for (int i = 0; i < 200; ++i) {
        before = anchor[0];
        (*outer)->step(anchor, delta);
    }
    EXPECT_NEAR((before - anchor[0]) * 64, 7, 0.01);  // 0.7 / (1 - 0.9)
}

TEST(OuterNesterov, Golden_first_steps) {
    auto outer = make_outer_optimizer("nesterov", {.learning_rate = 0.5, .momentum = 0.5}, 1);
    ASSERT_TRUE(outer.ok());
    std::vector<float> anchor = {8};
    // u = 4; Theta = 8 - (4 + 2)/2 = 5. u = 2 - 2 = 0; Theta = 5 - (-2 + 0)/2 = 6. u = 1; Theta = 6 - (1 +
    // 0.5)/2.
    const std::vector<std::pair<float, float>> expected = {{4.0F, 5.0F}, {-2.0F, 6.0F}, {1.0F, 5.25F}};
    for (const auto& [delta, result] : expected) {
        (*outer)->step(anchor, std::vector<float>{delta});
        EXPECT_EQ(anchor[0], result);
    }
}

TEST(OuterHeavyBall, Golden_first_steps) {
    auto outer = make_outer_optimizer("heavy_ball", {.learning_rate = 0.5, .momentum = 0.5}, 1);
    ASSERT_TRUE(outer.ok());
    std::vector<float> anchor = {8};
    // u = 4; Theta = 8 - 4/2 = 6. u = 2 - 2 = 0. u = 0 + 1; Theta = 6 - 1/2.
    const std::vector<std::pair<float, float>> expected = {{4.0F, 6.0F}, {-2.0F, 6.0F}, {1.0F, 5.5F}};
    for (const auto& [delta, result] : expected) {
        (*outer)->step(anchor, std::vector<float>{delta});
        EXPECT_EQ(anchor[0], result);
    }
}

TEST(OuterHeavyBall, Constant_updates_end_where_nesterovs_do) {
    auto outer = make_outer_optimizer("heavy_ball", kOptions, kSize);
    ASSERT_TRUE(outer.ok());
    std::vector<float> anchor(kSize);
    float before = 0;
    for (int i = 0; i < 200; ++i) {
        before = anchor[0];
        (*outer)->step(anchor, std::vector<float>(kSize, 1.0F / 64));
    }
    EXPECT_NEAR((before - anchor[0]) * 64, 7, 0.01);  // 0.7 / (1 - 0.9)
}

TEST(OuterAdam, Golden_first_steps) {
    auto outer =
        make_outer_optimizer("adam", {.learning_rate = 3, .momentum = 0.5, .beta2 = 0.75, .epsilon = 1}, 1);
    ASSERT_TRUE(outer.ok());
    std::vector<float> anchor = {8};
    // m = 2, v = 16/4 = 4: Theta = 8 - 3 * 2 / (2 + 1) = 6. m = 1, v = 3: Theta = 6 - 3 / (sqrt 3 + 1).
    (*outer)->step(anchor, std::vector<float>{4});
    EXPECT_FLOAT_EQ(anchor[0], 6);
    (*outer)->step(anchor, std::vector<float>{0});
    EXPECT_FLOAT_EQ(anchor[0], 4.9019238F);
}

TEST(OuterAdam, Follows_its_recursion_in_double_precision) {
    const OuterOptions options{.learning_rate = 0.1, .momentum = 0.9, .beta2 = 0.95, .epsilon = 1e-3};
    auto outer = make_outer_optimizer("adam", options, kSize);
    ASSERT_TRUE(outer.ok());
    std::vector<float> anchor(kSize);
    std::vector<double> theta(kSize), m(kSize), v(kSize);
    for (std::uint64_t i = 0; i < 50; ++i) {
        const std::vector<float> delta = random_vector(i);
        (*outer)->step(anchor, delta);
        for (std::size_t j = 0; j < kSize; ++j) {
            const double d = delta[j];
            m[j] = 0.9 * m[j] + 0.1 * d;
            v[j] = 0.95 * v[j] + 0.05 * d * d;
            theta[j] -= 0.1 * m[j] / (std::sqrt(v[j]) + 1e-3);
        }
    }
    for (std::size_t j = 0; j < kSize; ++j) EXPECT_NEAR(anchor[j], theta[j], 1e-5);
}

TEST(OuterOptimizers, Unknown_name_gives_the_nearest) {
    const auto made = make_outer_optimizer("nestorov", kOptions, kSize);
    ASSERT_FALSE(made.ok());
    EXPECT_NE(made.error().message.find("did you mean nesterov?"), std::string::npos);
}

}  // namespace
}  // namespace Atoll::federation

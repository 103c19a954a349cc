// What every inner optimizer of the table promises.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "model/optim/optimizer.h"
#include "tests/model/toy_problem.h"

namespace Atoll::model {
namespace {

struct Kept {
    OptimizerEntry entry;
    StateFormat state;
};

// Every optimizer with its state in fp32, and in fewer bits where it can.
std::vector<Kept> every_optimizer() {
    std::vector<Kept> all;
    for (const OptimizerEntry& entry : optimizers()) {
        all.push_back({entry, StateFormat::fp32});
        if (!entry.packs) continue;
        all.push_back({entry, StateFormat::bf16});
        all.push_back({entry, StateFormat::int8});
    }
    return all;
}

class OptimizerContract : public testing::TestWithParam<Kept> {
  protected:
    std::unique_ptr<Optimizer> make() {
        OptimizerOptions options = GetParam().entry.defaults;
        options.state = GetParam().state;
        return GetParam().entry.make(*ops_, toy_.layout, options);
    }
    // Ten times the rate that suits a language model: the bowl is a few steps of 0.01 wide.
    // Along one random direction of 101 a step may go 1 / (101 + 2) as far as along the gradient.
    [[nodiscard]] static double rate() {
        return GetParam().entry.forward_only ? 0.005 : std::min(10 * GetParam().entry.learning_rate, 1.0);
    }
    void descend(Optimizer& optimizer, std::span<float> x, std::int64_t from, std::int64_t to,
                 double rate) const {
        if (!GetParam().entry.forward_only) return toy_.descend(optimizer, x, from, to, rate);
        ASSERT_TRUE(toy_.descend_forward(optimizer, x, from, to, rate));
    }
    std::unique_ptr<kernels::Ops> ops_ = kernels::make_cpu_ops(2);
    ToyProblem toy_;
};

TEST_P(OptimizerContract, A_restart_changes_no_bit) {
    kernels::FlatBuffer straight = toy_.start();
    const auto uninterrupted = make();
    descend(*uninterrupted, straight.span(), 1, 30, rate());

    kernels::FlatBuffer resumed = toy_.start();
    const auto before = make();
    descend(*before, resumed.span(), 1, 17, rate());
    const auto after = make();
    const auto saved = before->state();
    const auto restored = after->state();
    ASSERT_EQ(saved.size(), restored.size());
    for (std::size_t i = 0; i < saved.size(); ++i) {
        EXPECT_EQ(saved[i].name, restored[i].name);
        ASSERT_EQ(saved[i].values.size(), restored[i].values.size());
        std::copy(saved[i].values.begin(), saved[i].values.end(), restored[i].values.begin());
    }
    descend(*after, resumed.span(), 18, 30, rate());
    for (std::size_t i = 0; i < straight.size(); ++i) ASSERT_EQ(straight.span()[i], resumed.span()[i]) << i;
}

TEST_P(OptimizerContract, The_toy_loss_falls) {
    kernels::FlatBuffer x = toy_.start();
    const double before = toy_.loss<float>(x.span());
    const auto optimizer = make();
    descend(*optimizer, x.span(), 1, 1500, rate());
    EXPECT_LT(toy_.loss<float>(x.span()), 0.2 * before);
}

TEST_P(OptimizerContract, Padding_stays_zero_and_a_zero_rate_moves_nothing) {
    kernels::FlatBuffer x = toy_.start();
    const auto optimizer = make();
    descend(*optimizer, x.span(), 1, 5, 0);
    const kernels::FlatBuffer start = toy_.start();
    // Forward-only steps go along a direction and back, which rounds.
    const float rounding = GetParam().entry.forward_only ? 1e-6F : 0;
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x.span()[i], start.span()[i], rounding) << i;
    descend(*optimizer, x.span(), 6, 10, rate());
    for (std::size_t i = 6 * 16 + 5; i < x.size(); ++i) EXPECT_EQ(x.span()[i], 0) << i;
}

TEST_P(OptimizerContract, State_names_are_distinct) {
    std::set<std::string> names;
    for (const StateVector& state : make()->state())
        EXPECT_TRUE(names.insert(state.name).second) << state.name;
}

INSTANTIATE_TEST_SUITE_P(table, OptimizerContract, testing::ValuesIn(every_optimizer()),
                         [](const auto& entry) {
                             const std::string format(state_format_name(entry.param.state));
                             const std::string name(entry.param.entry.name);
                             return format == "fp32" ? name : name + "_" + format;
                         });

TEST(Optimizers, An_unknown_name_names_the_nearest) {
    const auto ops = kernels::make_cpu_ops(1);
    const auto result = make_optimizer("adam", *ops, ToyProblem().layout, {});
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::invalid);
    EXPECT_THAT(result.error().message, testing::HasSubstr("did you mean adamw?"));
}

TEST(Optimizers, Only_matrices_decay) {
    kernels::Layout layout;
    layout.add("matrix", {4, 16});
    layout.add("norm", {16});
    layout.add("bias", {3});
    layout.add("other", {2, 5});
    const auto ranges = decay_ranges(layout);
    ASSERT_EQ(ranges.size(), 3U);
    EXPECT_TRUE(ranges[0].decays && !ranges[1].decays && ranges[2].decays);
    EXPECT_EQ(ranges[0].offset, 0U);
    EXPECT_EQ(ranges[1].offset, 64U);
    EXPECT_EQ(ranges[2].offset, 96U);
    EXPECT_EQ(ranges[2].offset + ranges[2].size, layout.size());
}

}  // namespace
}  // namespace Atoll::model

// AdaLRS: the fit, the rule step by step, what a failed trial leaves behind (nothing), and that it finds a
// rate.
#include "model/optim/rate_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "base/rng.h"
#include "model/trainer.h"
#include "tests/model/text_batches.h"

namespace Atoll::model {
namespace {

using Order = RateSearch::Order;

TEST(LineFit, Is_exact_on_a_line_and_its_error_is_the_spread_of_slopes) {
    std::vector<float> line(40);
    for (std::size_t i = 0; i < line.size(); ++i) line[i] = 3 - 0.25F * static_cast<float>(i);
    const LineFit exact = fit_line(line);
    EXPECT_NEAR(exact.slope, -0.25, 1e-12);
    EXPECT_NEAR(exact.slope_error, 0, 1e-12);
    EXPECT_NEAR(exact.mean, 3 - 0.25 * 19.5, 1e-12);
    Rng rng(8);
    double squares = 0, errors = 0;
    constexpr int kTrials = 4000;
    for (int trial = 0; trial < kTrials; ++trial) {
        std::vector<float> noisy = line;
        for (float& y : noisy) y += static_cast<float>(0.5 * rng.normal());
        const LineFit fit = fit_line(noisy);
        squares += (fit.slope + 0.25) * (fit.slope + 0.25) / kTrials;
        errors += fit.slope_error * fit.slope_error / kTrials;
    }
    EXPECT_NEAR(std::sqrt(squares / errors), 1, 0.05);
}

RateSearchOptions plain(std::int64_t merge_interval = 0) {
    return {.window = 10, .begin = 0, .end = 1000, .merge_interval = merge_interval};
}

// Feeds a window that falls by `velocity` a step; returns the last order.
Order feed(RateSearch& search, std::int64_t& step, double start, double velocity) {
    Order order = Order::go_on;
    for (int i = 0; i < 10; ++i) {
        const double wiggle = i % 2 == 0 ? 1e-4 : -1e-4;
        order = search.observe(++step, start - velocity * i + wiggle);
        if (i < 9) {
            EXPECT_EQ(order, Order::go_on) << step;
        }
    }
    return order;
}

TEST(RateSearch, A_faster_trial_is_kept_a_slower_one_rolled_back_and_lowered) {
    RateSearch search(plain());
    std::int64_t step = 0;
    EXPECT_EQ(feed(search, step, 9, 0.10), Order::go_on);  // nothing to compare with
    EXPECT_EQ(feed(search, step, 8, 0.05), Order::save);   // slower: try more
    EXPECT_TRUE(search.in_trial());
    EXPECT_DOUBLE_EQ(search.factor(), 3);
    EXPECT_EQ(feed(search, step, 7.5, 0.08), Order::go_on);  // faster: kept
    EXPECT_FALSE(search.in_trial());
    EXPECT_NEAR(search.factor(), 3, 1e-6);
    EXPECT_EQ(feed(search, step, 6.7, 0.05), Order::save);
    EXPECT_NEAR(search.factor(), 3 * 3 * 0.99, 1e-6);
    EXPECT_EQ(feed(search, step, 6.2, 0.01), Order::roll_back);
    EXPECT_NEAR(search.factor(), 3 / (2 * 0.99), 1e-6);
    EXPECT_EQ(feed(search, step, 6.2, 0.04), Order::save);
    EXPECT_EQ(feed(search, step, 5.8, 0.04), Order::go_on);  // neither: the rate stays, the progress too
    EXPECT_NEAR(search.factor(), 3 / (2 * 0.99), 1e-6);
}

TEST(RateSearch, A_trial_above_every_loss_seen_ends_at_once) {
    RateSearch search(plain());
    std::int64_t step = 0;
    (void)feed(search, step, 9, 0.10);
    ASSERT_EQ(feed(search, step, 8, 0.05), Order::save);
    EXPECT_EQ(search.observe(++step, 7.4), Order::go_on);
    EXPECT_EQ(search.observe(++step, 9.1), Order::roll_back);
    EXPECT_NEAR(search.factor(), 0.5, 1e-6);
    ASSERT_EQ(feed(search, step, 7, 0.01), Order::save);
    EXPECT_EQ(search.observe(++step, std::numeric_limits<double>::quiet_NaN()), Order::roll_back);
}

TEST(RateSearch, Two_rises_of_the_mean_lower_the_rate_without_a_trial) {
    RateSearch search(plain());
    std::int64_t step = 0;
    (void)feed(search, step, 5, -0.01);
    EXPECT_EQ(feed(search, step, 5.2, -0.005), Order::go_on);
    EXPECT_NEAR(search.factor(), 1, 1e-6);
    EXPECT_EQ(feed(search, step, 5.4, -0.003), Order::go_on);
    EXPECT_NEAR(search.factor(), 0.5, 1e-6);
}

TEST(RateSearch, Moves_shrink_until_there_are_none) {
    RateSearch search(plain());
    std::int64_t step = 0;
    (void)feed(search, step, 9, 0.10);
    for (int adjustment = 0; adjustment < 60; ++adjustment) {
        ASSERT_EQ(feed(search, step, 8, 0.05), Order::save) << adjustment;
        const double raise = std::max(3 * std::pow(0.99, adjustment), 1.0);
        EXPECT_NEAR(search.factor(), raise, 1e-5) << adjustment;
        EXPECT_EQ(feed(search, step, 8, 0.05 + 1e-6), Order::go_on);
        step = 0;  // the part of the run in which it searches is not at issue here
    }
    EXPECT_NEAR(3 * std::pow(0.99, 50), 1.81, 0.01);  // the paper's lambda, as documented
}

TEST(RateSearch, Only_between_begin_and_end) {
    RateSearchOptions options = plain();
    options.begin = 40;
    options.end = 100;
    RateSearch search(options);
    Rng rng(1);
    for (std::int64_t step = 1; step <= 40; ++step)
        ASSERT_EQ(search.observe(step, 5 + rng.normal()), Order::go_on);
    for (std::int64_t step = 101; step <= 300; ++step)
        ASSERT_EQ(search.observe(step, 5 + rng.normal()), Order::go_on);
    EXPECT_EQ(search.factor(), 1);
}

TEST(RateSearch, No_trial_crosses_a_merge) {
    constexpr std::int64_t kInterval = 37;
    RateSearch search(plain(kInterval));
    Rng rng(2);
    int trials = 0;
    for (std::int64_t step = 1; step <= 900; ++step) {
        const Order order = search.observe(step, 6 - 0.002 * static_cast<double>(step) + 0.02 * rng.normal());
        if (order == Order::save) {
            ++trials;
            EXPECT_NE(step % kInterval, 0);
            EXPECT_LE(step % kInterval + 10, kInterval);
        }
        if (order == Order::roll_back) step -= 10;
        if (step % kInterval == 0 && step > 0) {
            ASSERT_FALSE(search.in_trial()) << step;
            search.merged();
        }
    }
    EXPECT_GT(trials, 3);
}

TEST(RateSearch, Impossible_windows_are_named) {
    EXPECT_THAT(validate_rate_search({.window = 2, .end = 100}).error().message,
                testing::HasSubstr("5 at least"));
    EXPECT_THAT(validate_rate_search({.window = 60, .end = 100}).error().message,
                testing::HasSubstr("0 to 100"));
    EXPECT_THAT(validate_rate_search({.window = 30, .end = 100, .merge_interval = 50}).error().message,
                testing::HasSubstr("algorithm.inner_steps = 50"));
}

// An ill-conditioned quadratic with noisy gradients, descended by SGD at the rate of the search.
double final_loss(double rate, bool searches) {
    constexpr std::int64_t kSteps = 6000, kDimensions = 50;
    std::vector<double> x(kDimensions, 1.0), curvature(kDimensions);
    for (std::size_t i = 0; i < curvature.size(); ++i)
        curvature[i] = std::pow(10.0, -2.0 * static_cast<double>(i) / (kDimensions - 1));
    Rng rng(4);
    RateSearch search({.window = 100, .begin = kSteps / 10, .end = kSteps * 4 / 10, .warmup_steps = 10});
    std::vector<double> saved = x;
    std::int64_t saved_step = 0;
    const auto loss = [&] {
        double sum = 1;
        for (std::size_t i = 0; i < x.size(); ++i) sum += 0.5 * curvature[i] * x[i] * x[i];
        return sum;
    };
    for (std::int64_t step = 1; step <= kSteps; ++step) {
        const double now = rate * (searches ? search.factor() : 1);
        const double at = loss() + 0.02 * rng.normal();
        for (std::size_t i = 0; i < x.size(); ++i) x[i] -= now * (curvature[i] * x[i] + 0.1 * rng.normal());
        if (!searches) continue;
        const Order order = search.observe(step, at);
        if (order == Order::save) {
            saved = x;
            saved_step = step;
        }
        if (order == Order::roll_back) {
            x = saved;
            step = saved_step;
        }
    }
    return loss();
}

TEST(RateSearch, From_a_rate_a_hundred_times_too_small_it_gets_where_a_good_one_does) {
    const double good = final_loss(0.05, false), small = final_loss(5e-4, false),
                 found = final_loss(5e-4, true);
    EXPECT_GT(small, good + 0.5);
    EXPECT_LT(found, small - 0.9 * (small - good));
    EXPECT_LT(final_loss(0.05, true), good + 0.05);  // a good one stays good
}

TrainerOptions search_options(double rate) {
    TrainerOptions options;
    options.model = {.family = "llama",
                     .vocabulary = 128,
                     .context = 16,
                     .layers = 1,
                     .heads = 2,
                     .kv_heads = 2,
                     .width = 32,
                     .inner = 64,
                     .head_dim = 16};
    options.learning_rate = rate;
    options.batch_sequences = 4;
    options.schedule_options = {.steps = 200};
    options.rate_search = RateSearchOptions{.window = 8, .begin = 8, .end = 160};
    return options;
}

// The trainer rolls back what a trial has done: it goes on as one that was told the lower rate from there on.
TEST(RateSearchInTrainer, A_failed_trial_leaves_no_trace_but_the_rate) {
    const auto ops = kernels::make_cpu_ops(1);
    TextBatches data(3), data_again(3);
    TrainerOptions options = search_options(0.02);
    options.rate_search->raise = 100;  // no such trial can succeed
    const auto trainer = Trainer::make(*ops, data, options).value();
    std::uint64_t failed_at = 0;
    bool was_in_trial = false;
    std::set<std::uint64_t> seen;
    for (int i = 0; i < 300 && failed_at == 0 && trainer->step() < 160; ++i) {
        const std::uint64_t before = trainer->step();
        ASSERT_TRUE(trainer->inner_step().ok());
        if (was_in_trial && trainer->step() <= before) failed_at = trainer->step();
        was_in_trial = trainer->in_trial();
    }
    ASSERT_GT(failed_at, 0U);

    // Another trainer, brought to the same step by the state of the first one's beginning of the trial.
    const auto again = Trainer::make(*ops, data_again, options).value();
    std::copy(trainer->parameters().begin(), trainer->parameters().end(), again->parameters().begin());
    again->parameters_changed();
    const auto from = trainer->optimizer_state(), to = again->optimizer_state();
    for (std::size_t i = 0; i < from.size(); ++i)
        std::copy(from[i].values.begin(), from[i].values.end(), to[i].values.begin());
    again->seek(trainer->position());
    for (int i = 0; i < 30; ++i) {
        const auto a = trainer->inner_step(), b = again->inner_step();
        ASSERT_TRUE(a.ok() && b.ok());
        ASSERT_EQ(a->loss, b->loss) << i;
        ASSERT_EQ(a->learning_rate, b->learning_rate) << i;
    }
}

TEST(RateSearchInTrainer, A_trial_that_is_dropped_goes_back_to_its_beginning_bit_for_bit) {
    const auto ops = kernels::make_cpu_ops(1);
    TextBatches data(3);
    const auto trainer = Trainer::make(*ops, data, search_options(0.003)).value();
    std::vector<float> parameters;
    while (!trainer->in_trial()) {
        ASSERT_LT(trainer->step(), 160U);
        ASSERT_TRUE(trainer->inner_step().ok());
    }
    parameters.assign(trainer->parameters().begin(), trainer->parameters().end());
    const auto position = trainer->position();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(trainer->inner_step().ok());
    ASSERT_TRUE(trainer->drop_trial());
    EXPECT_FALSE(trainer->drop_trial());
    EXPECT_TRUE(std::equal(parameters.begin(), parameters.end(), trainer->parameters().begin()));
    EXPECT_EQ(trainer->position().step, position.step);
    EXPECT_EQ(trainer->position().data, position.data);
}

}  // namespace
}  // namespace Atoll::model

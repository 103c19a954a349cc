// Schedules and clipping against their closed forms.
#include "model/optim/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace Atoll::model {
namespace {

double fraction(const char* name, std::int64_t step, const ScheduleOptions& options) {
    return (*find_schedule(name))->fraction(options, step);
}

constexpr ScheduleOptions kOptions{
    .steps = 110, .warmup_steps = 10, .final_fraction = 0.2, .decay_fraction = 0.5};

TEST(Schedule, All_warm_up_linearly_to_the_peak) {
    for (const ScheduleEntry& entry : schedules()) {
        for (std::int64_t step = 1; step <= 10; ++step) {
            EXPECT_DOUBLE_EQ(entry.fraction(kOptions, step), static_cast<double>(step) / 10) << entry.name;
        }
    }
}

TEST(Schedule, All_stay_in_range_never_rise_after_warm_up_and_stay_at_the_end) {
    for (const ScheduleEntry& entry : schedules()) {
        for (std::int64_t step = 11; step <= 300; ++step) {
            const double now = entry.fraction(kOptions, step);
            EXPECT_GE(now, 0.2) << entry.name;
            EXPECT_LE(now, entry.fraction(kOptions, step - 1)) << entry.name << " at " << step;
        }
        EXPECT_EQ(entry.fraction(kOptions, 110), entry.fraction(kOptions, 300)) << entry.name;
    }
}

TEST(Schedule, Without_warm_up_the_first_step_is_defined) {
    for (const ScheduleEntry& entry : schedules()) {
        const ScheduleOptions options{
            .steps = 0, .warmup_steps = 0, .final_fraction = 0.1, .decay_fraction = 0.2};
        EXPECT_TRUE(std::isfinite(entry.fraction(options, 1))) << entry.name;
        EXPECT_GT(entry.fraction({.steps = 1000}, 1), 0.99) << entry.name;
    }
}

TEST(Schedule, Constant_stays_at_the_peak) { EXPECT_EQ(fraction("constant", 1000, kOptions), 1); }

TEST(Schedule, Cosine_follows_the_cosine) {
    for (const std::int64_t step : {10, 35, 60, 85, 110}) {
        const double angle = M_PI * static_cast<double>(step - 10) / 100;
        EXPECT_NEAR(fraction("cosine", step, kOptions), 0.2 + 0.8 * (1 + std::cos(angle)) / 2, 1e-15);
    }
    EXPECT_NEAR(fraction("cosine", 60, kOptions), 0.6, 1e-15);
}

TEST(Schedule, Wsd_is_stable_then_linear) {
    EXPECT_EQ(fraction("wsd", 30, kOptions), 1);
    EXPECT_EQ(fraction("wsd", 55, kOptions), 1);
    EXPECT_NEAR(fraction("wsd", 66, kOptions), 1 - 0.8 * 0.2, 1e-15);
    EXPECT_NEAR(fraction("wsd", 110, kOptions), 0.2, 1e-15);
}

TEST(Schedule, An_unknown_name_names_the_nearest) {
    const auto result = find_schedule("cosinus");
    ASSERT_FALSE(result.ok());
    EXPECT_THAT(result.error().message, testing::HasSubstr("did you mean cosine?"));
}

TEST(Clipping, Scales_only_what_is_too_long) {
    EXPECT_EQ(clip_scale(0.5, 1), 1);
    EXPECT_EQ(clip_scale(4, 1), 0.25);
    EXPECT_EQ(clip_scale(4, 0), 1);
    EXPECT_EQ(clip_scale(0, 1), 1);
}

}  // namespace
}  // namespace Atoll::model

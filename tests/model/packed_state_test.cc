// Optimizer state in 16 and 8 bits: what is kept, how far off, without a bias; and that training does not
// suffer.
#include "model/optim/packed_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "model/optim/validate.h"
#include "model/trainer.h"
#include "tests/model/text_batches.h"

namespace Atoll::model {
namespace {

constexpr StateFormat kPacked[] = {StateFormat::bf16, StateFormat::int8};

// Values over eight decades, zeros among them; the last block is not full.
std::vector<float> values_of(Sign sign) {
    Rng rng(6);
    std::vector<float> values(3 * kStateBlock + 77);
    for (float& value : values) {
        value = static_cast<float>(rng.normal() * std::pow(10.0, -8 * rng.uniform()));
        if (sign == Sign::positive) value = std::abs(value);
        if (rng.below(20) == 0) value = 0;
    }
    return values;
}

std::vector<float> round_trip(StateFormat format, Sign sign, const std::vector<float>& values,
                              std::uint32_t seed) {
    std::vector<float> packed(packed_floats(format, values.size())), result(values.size());
    pack(format, sign, packed, values.size(), 0, values, seed);
    unpack(format, sign, packed, values.size(), 0, result);
    return result;
}

TEST(PackedState, What_was_rounded_once_stays_as_it_is) {
    for (const StateFormat format : kPacked) {
        for (const Sign sign : {Sign::both, Sign::positive}) {
            const auto once = round_trip(format, sign, values_of(sign), 1);
            EXPECT_EQ(round_trip(format, sign, once, 2), once) << state_format_name(format);
        }
    }
}

TEST(PackedState, Errors_are_bounded_and_positive_values_stay_positive) {
    for (const StateFormat format : kPacked) {
        for (const Sign sign : {Sign::both, Sign::positive}) {
            const auto values = values_of(sign);
            const auto rounded = round_trip(format, sign, values, 3);
            // One unit of the mantissa; below the smallest exponent that exponent's.
            const double relative = format == StateFormat::bf16 ? std::ldexp(1.0, -7) : std::ldexp(1.0, -3);
            const double octaves = sign == Sign::both ? 15 : 31;
            for (std::size_t i = 0; i < values.size(); ++i) {
                double largest = 0;
                const std::size_t block = i / kStateBlock * kStateBlock;
                for (std::size_t k = block; k < std::min(block + kStateBlock, values.size()); ++k)
                    largest = std::max(largest, std::abs(static_cast<double>(values[k])));
                const double floor = format == StateFormat::bf16 ? 0 : 4 * largest * std::exp2(-octaves);
                const double error =
                    std::abs(static_cast<double>(rounded[i]) - static_cast<double>(values[i]));
                ASSERT_LE(error, relative * std::abs(static_cast<double>(values[i])) + floor) << i;
                if (sign == Sign::positive && values[i] > 0) {
                    ASSERT_GT(rounded[i], 0) << i;
                }
                if (values[i] == 0) {
                    ASSERT_EQ(rounded[i], 0) << i;
                }
            }
        }
    }
}

// An average that moves by a thousandth a step arrives: rounding to nearest would leave it where it began.
TEST(PackedState, Slow_averages_move) {
    for (const StateFormat format : kPacked) {
        constexpr int kSteps = 3000;
        std::vector<float> average(kStateBlock, 1.0F);
        average[0] = 8;  // the block's scale is another's
        for (int step = 0; step < kSteps; ++step) {
            for (std::size_t i = 1; i < average.size(); ++i)
                average[i] = 0.999F * average[i] + 0.001F * 0.25F;
            average = round_trip(format, Sign::positive, average, static_cast<std::uint32_t>(mix64(step)));
        }
        double mean = 0;
        for (std::size_t i = 1; i < average.size(); ++i)
            mean += static_cast<double>(average[i]) / static_cast<double>(average.size() - 1);
        const double expected = 0.25 + 0.75 * std::pow(0.999, kSteps);
        EXPECT_NEAR(mean, expected, 0.03 * expected) << state_format_name(format);
    }
}

double loss_after_training(const std::string& optimizer, StateFormat format, std::size_t* bytes = nullptr) {
    const auto ops = kernels::make_cpu_ops(2);
    TextBatches data(3);
    TrainerOptions options;
    options.model = {.family = "llama",
                     .vocabulary = 128,
                     .context = 32,
                     .layers = 2,
                     .heads = 2,
                     .kv_heads = 2,
                     .width = 32,
                     .inner = 96,
                     .head_dim = 16};
    options.optimizer = optimizer;
    options.optimizer_options = (*find_optimizer(optimizer))->defaults;
    options.optimizer_options.beta2 = 0.999;
    options.optimizer_options.state = format;
    options.learning_rate = 5e-3;
    options.schedule = "cosine";
    options.schedule_options = {.steps = 80, .warmup_steps = 8};
    options.batch_sequences = 4;
    const auto trainer = Trainer::make(*ops, data, options).value();
    for (int i = 0; i < 80; ++i) EXPECT_TRUE(trainer->inner_step().ok());
    if (bytes != nullptr) *bytes = trainer->optimizer_state_bytes();
    return *trainer->validation_loss();
}

TEST(PackedState, Training_learns_as_much_with_a_half_and_a_quarter_of_the_bytes) {
    std::size_t full = 0, half = 0, quarter = 0;
    const double exact = loss_after_training("adamw", StateFormat::fp32, &full);
    EXPECT_NEAR(loss_after_training("adamw", StateFormat::bf16, &half), exact, 0.05 * exact);
    EXPECT_NEAR(loss_after_training("adamw", StateFormat::int8, &quarter), exact, 0.1 * exact);
    EXPECT_NEAR(static_cast<double>(half) / static_cast<double>(full), 0.5, 0.01);
    EXPECT_NEAR(static_cast<double>(quarter) / static_cast<double>(full), 0.25, 0.02);
}

TEST(OptimizerSettings, What_cannot_be_is_named_with_both_keys) {
    const ModelConfig model = model_preset("tiny").value();
    const auto message = [&](std::string_view name, auto spoil) {
        OptimizerOptions options;
        spoil(options);
        const Status status = validate_optimizer(name, options, model);
        return status.ok() ? std::string() : status.error().message;
    };
    EXPECT_EQ(message("adamw", [](OptimizerOptions&) {}), "");
    EXPECT_THAT(message("adamw", [](OptimizerOptions& o) { o.beta1 = -0.1; }),
                testing::HasSubstr("optimizer.beta1 = -0.1"));
    EXPECT_THAT(message("adamw", [](OptimizerOptions& o) { o.beta2 = 1; }),
                testing::HasSubstr("optimizer.beta2 = 1: expected 0 at least, less than 1"));
    EXPECT_THAT(message("muon", [](OptimizerOptions& o) { o.state = StateFormat::int8; }),
                testing::AllOf(testing::HasSubstr("optimizer.state = int8"), testing::HasSubstr("muon")));
    EXPECT_THAT(message("soap", [](OptimizerOptions& o) { o.precondition_side_max = 64; }),
                testing::AllOf(testing::HasSubstr("precondition_side_max = 64"),
                               testing::HasSubstr("model.width = 128")));
    EXPECT_THAT(message("adam", [](OptimizerOptions&) {}), testing::HasSubstr("adamw"));
    const auto ops = kernels::make_cpu_ops(1);
    kernels::Layout vectors;
    vectors.add("vector", {16});
    EXPECT_FALSE(state_format("fp8").ok());
    for (const char* name : {"muon", "d_muon", "soap"}) {
        const auto made = make_optimizer(name, *ops, vectors, {});
        ASSERT_FALSE(made.ok()) << name;
        EXPECT_THAT(made.error().message, testing::HasSubstr(name));
    }
}

}  // namespace
}  // namespace Atoll::model

// Whole training steps on the emulated device beside the CPU: the same model, data and optimizer.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "model/trainer.h"
#include "tests/kernels/ops_fixture.h"
#include "tests/model/text_batches.h"

namespace Atoll::model {
namespace {

struct Trained {
    std::vector<double> losses;
    std::vector<float> parameters;
};

Trained train(kernels::Ops& ops, const std::string& family, kernels::Precision precision, int steps,
              TrainerOptions options = {.learning_rate = 3e-3}) {
    TextBatches data(12);
    options.model = {.family = family,
                     .vocabulary = 128,
                     .context = 12,
                     .layers = 2,
                     .heads = 2,
                     .kv_heads = family == "llama" ? 1 : 2,
                     .width = 16,
                     .inner = 48,
                     .head_dim = 8};
    options.batch_sequences = 2;
    options.precision = precision;
    auto trainer = Trainer::make(ops, data, options);
    if (!trainer.ok()) throw std::runtime_error(trainer.error().message);
    Trained run;
    for (int i = 0; i < steps; ++i) run.losses.push_back((*trainer)->inner_step()->loss);
    const auto parameters = (*trainer)->parameters();
    run.parameters.assign(parameters.begin(), parameters.end());
    return run;
}

std::unique_ptr<kernels::Ops> emulated(std::size_t index) {
    return kernels::testing::devices()[index].make();
}

class EmulatedTraining : public ::testing::TestWithParam<std::string> {};

TEST_P(EmulatedTraining, Fifty_steps_have_the_losses_of_the_cpu) {
    const auto cpu = kernels::make_cpu_ops(1);
    const Trained expected = train(*cpu, GetParam(), kernels::Precision::fp32, 50);
    const Trained actual = train(*emulated(0), GetParam(), kernels::Precision::fp32, 50);
    for (std::size_t i = 0; i < expected.losses.size(); ++i) {
        EXPECT_NEAR(actual.losses[i], expected.losses[i], 1e-5 * expected.losses[i]) << "step " << i;
    }
    EXPECT_LT(actual.losses.back(), 0.8 * actual.losses.front());
}

TEST_P(EmulatedTraining, Rounded_products_agree_with_those_of_the_cpu) {
    const auto cpu = kernels::make_cpu_ops(1);
    const Trained expected = train(*cpu, GetParam(), kernels::Precision::bf16, 10);
    const Trained actual = train(*emulated(0), GetParam(), kernels::Precision::bf16, 10);
    // Where a sum lies near the middle of two bf16 numbers its last bit decides: 2^-9 of the operand.
    for (std::size_t i = 0; i < expected.losses.size(); ++i) {
        EXPECT_NEAR(actual.losses[i], expected.losses[i], 1e-3 * expected.losses[i]) << "step " << i;
    }
}

TEST_P(EmulatedTraining, The_order_of_threads_and_blocks_changes_no_bit) {
    const Trained in_order = train(*emulated(0), GetParam(), kernels::Precision::fp32, 3);
    const Trained shuffled = train(*emulated(1), GetParam(), kernels::Precision::fp32, 3);
    EXPECT_EQ(in_order.losses, shuffled.losses);
    EXPECT_EQ(in_order.parameters, shuffled.parameters);
}

// Long enough for Sophia's second estimate of the curvature and SOAP's second basis.
TEST(EmulatedOptimizers, Each_has_the_losses_of_the_cpu) {
    const auto cpu = kernels::make_cpu_ops(1);
    for (const auto& entry : optimizers()) {
        SCOPED_TRACE(entry.name);
        const TrainerOptions options = {.optimizer = std::string(entry.name),
                                        .optimizer_options = entry.defaults,
                                        .learning_rate = entry.learning_rate};
        const Trained expected = train(*cpu, "llama", kernels::Precision::fp32, 12, options);
        const Trained actual = train(*emulated(0), "llama", kernels::Precision::fp32, 12, options);
        for (std::size_t i = 0; i < expected.losses.size(); ++i) {
            EXPECT_NEAR(actual.losses[i], expected.losses[i], 1e-4 * expected.losses[i]) << "step " << i;
        }
        EXPECT_NE(expected.losses.front(), expected.losses.back());
    }
}

INSTANTIATE_TEST_SUITE_P(Families, EmulatedTraining, ::testing::Values("gpt2", "llama"),
                         [](const auto& family) { return family.param; });

}  // namespace
}  // namespace Atoll::model

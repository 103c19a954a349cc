// Generation: the sampler's distribution, and that a cache changes nothing.
#include "model/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/architecture.h"
#include "model/trainer.h"
#include "tests/model/reference_transformer.h"
#include "tests/model/text_batches.h"

namespace Atoll::model {
namespace {

ModelConfig small() {
    return {.family = "llama",
            .vocabulary = 128,
            .context = 16,
            .layers = 2,
            .heads = 4,
            .kv_heads = 2,
            .width = 32,
            .inner = 48,
            .head_dim = 8,
            .qk_norm = true};
}

class GeneratorTest : public testing::Test {
  protected:
    GeneratorTest() : parameters_(make_layout(small()).size()) {
        const Transformer model(*ops_, small(), {.rows_max = 1, .keep = Keep::nothing});
        model.initialize(parameters_.span(), Rng(1));
        for (float& value : parameters_.span()) value *= 5;  // far from uniform
        ops_->weights_changed();
    }
    Generator generator() { return {*ops_, small(), parameters_.span()}; }
    std::unique_ptr<kernels::Ops> ops_ = kernels::make_cpu_ops(2);
    kernels::FlatBuffer parameters_;
};

TEST_F(GeneratorTest, Greedy_text_is_what_the_whole_forward_pass_says) {
    const std::vector<std::int32_t> prompt = {5, 17, 99};
    const auto text = generator().generate(prompt, {.tokens = 13, .temperature = 0});
    ASSERT_TRUE(text.ok()) << text.error().message;
    ASSERT_EQ(text->size(), 13U);
    ReferenceTransformer reference(small(), make_layout(small()));
    const std::vector<double> exact(parameters_.span().begin(), parameters_.span().end());
    std::vector<std::int32_t> all = prompt;
    for (const std::int32_t token : *text) {
        const std::vector<double> logits = reference.logits(exact, all).back();
        const double best = *std::max_element(logits.begin(), logits.end());
        EXPECT_NEAR(logits[static_cast<std::size_t>(token)], best, 1e-4);
        all.push_back(token);
    }
}

TEST_F(GeneratorTest, Text_goes_on_when_the_context_is_full) {
    const std::vector<std::int32_t> prompt(40, 7);  // longer than the context, too
    const auto text = generator().generate(prompt, {.tokens = 50});
    ASSERT_TRUE(text.ok()) << text.error().message;
    EXPECT_EQ(text->size(), 50U);
}

TEST_F(GeneratorTest, The_same_seed_gives_the_same_text_another_seed_another) {
    const std::vector<std::int32_t> prompt = {1};
    Generator reused = generator();
    const auto first = *reused.generate(prompt, {.tokens = 40, .seed = 3});
    EXPECT_EQ(first, *reused.generate(prompt, {.tokens = 40, .seed = 3}));
    EXPECT_NE(first, *reused.generate(prompt, {.tokens = 40, .seed = 4}));
}

TEST_F(GeneratorTest, Ids_beyond_the_tokenizer_never_come) {
    const std::vector<std::int32_t> prompt = {1};
    const auto text = *generator().generate(prompt, {.tokens = 300, .temperature = 3, .vocabulary = 20});
    EXPECT_LT(*std::max_element(text.begin(), text.end()), 20);
    EXPECT_GT(*std::max_element(text.begin(), text.end()), 10);
}

TEST_F(GeneratorTest, A_stop_token_and_the_callback_end_it) {
    const std::vector<std::int32_t> prompt = {1};
    const auto free = *generator().generate(prompt, {.tokens = 20, .temperature = 0});
    const auto until = *generator().generate(prompt, {.tokens = 20, .temperature = 0, .stop_token = free[6]});
    EXPECT_EQ(until.size(),
              static_cast<std::size_t>(std::find(free.begin(), free.end(), free[6]) - free.begin()));
    std::vector<std::int32_t> seen;
    const auto watched =
        *generator().generate(prompt, {.tokens = 20, .temperature = 0}, [&](std::int32_t token) {
            seen.push_back(token);
            return seen.size() < 4;
        });
    EXPECT_EQ(seen, watched);
    EXPECT_EQ(watched.size(), 4U);
}

TEST_F(GeneratorTest, Wrong_requests_and_damaged_models_are_refused) {
    Generator g = generator();
    const std::vector<std::int32_t> prompt = {1};
    const std::vector<std::int32_t> foreign = {128};
    EXPECT_FALSE(g.generate({}, {}).ok());
    EXPECT_FALSE(g.generate(foreign, {}).ok());
    EXPECT_FALSE(g.generate(prompt, {.temperature = -1}).ok());
    EXPECT_FALSE(g.generate(prompt, {.vocabulary = 129}).ok());
    for (float& value : parameters_.span()) value = std::numeric_limits<float>::quiet_NaN();
    ops_->weights_changed();
    const auto damaged = g.generate(prompt, {});
    ASSERT_FALSE(damaged.ok());
    EXPECT_THAT(damaged.error().message, testing::HasSubstr("not finite"));
}

TEST(Sample, Follows_the_softmax_of_the_tempered_logits) {
    const std::vector<float> logits = {1.0F, 2.0F, 0.0F};
    constexpr double kTemperature = 0.5;
    constexpr int kDraws = 1000;
    std::vector<int> counts(3);
    for (int i = 0; i < kDraws; ++i) {
        ++counts[static_cast<std::size_t>(sample(logits, kTemperature, (i + 0.5) / kDraws))];
    }
    const double total = std::exp(2.0) + std::exp(4.0) + std::exp(0.0);
    EXPECT_NEAR(counts[0], kDraws * std::exp(2.0) / total, 1);
    EXPECT_NEAR(counts[1], kDraws * std::exp(4.0) / total, 1);
    EXPECT_NEAR(counts[2], kDraws * std::exp(0.0) / total, 1);
}

TEST(Sample, Temperature_zero_takes_the_first_of_the_largest) {
    EXPECT_EQ(sample(std::vector<float>{0.0F, 3.0F, 3.0F}, 0, 0.99), 1);
}

TEST(Sample, Large_logits_do_not_overflow) {
    EXPECT_EQ(sample(std::vector<float>{-1e30F, 1e30F}, 0.01, 0.5), 1);
}

}  // namespace
}  // namespace Atoll::model

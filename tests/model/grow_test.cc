// A grown model computes the same function: in double precision to 1e-12, in fp32 to 2e-5; its moments are
// those its gradients ask for; what cannot be grown is named.
#include "model/grow.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/architecture.h"
#include "model/transformer.h"
#include "tests/model/reference_transformer.h"
#include "tests/model/text_batches.h"

namespace Atoll::model {
namespace {

constexpr double kNoNoise = std::numeric_limits<double>::infinity();

ModelConfig gpt2_model() {
    return {.family = "gpt2",
            .vocabulary = 128,
            .context = 16,
            .layers = 2,
            .heads = 2,
            .kv_heads = 2,
            .width = 32,
            .inner = 48,
            .head_dim = 16};
}

// Six query heads on three key/value heads, heads wider in all than the stream.
ModelConfig llama_model(bool tied, bool qk_norm) {
    return {.family = "llama",
            .vocabulary = 128,
            .context = 16,
            .layers = 2,
            .heads = 6,
            .kv_heads = 3,
            .width = 32,
            .inner = 48,
            .head_dim = 8,
            .tied_head = tied,
            .qk_norm = qk_norm};
}

// Values as after training: norms away from 1, biases away from 0.
std::vector<double> random_parameters(const kernels::Layout& layout) {
    std::vector<double> values(layout.size(), 0.0);
    for (const auto& slot : layout.slots()) {
        Rng rng = Rng(3).split(slot.name);
        const bool vector = slot.shape.size() == 1;
        const bool gain = vector && !slot.name.ends_with("bias");
        for (std::size_t i = 0; i < slot.size; ++i)
            values[slot.offset + i] = (gain ? 1 : 0) + (vector ? 0.2 : 0.15) * rng.normal();
    }
    return values;
}

TokenBatch batch_of_text() {
    TokenBatch batch{.batch = 2, .sequence = 16};
    TextBatches data(4);
    EXPECT_TRUE(data.next(batch).ok());
    return batch;
}

struct Case {
    const char* name;
    ModelConfig model;
    Growth growth;
};

std::vector<Case> cases() {
    return {
        {"gpt2_width_2", gpt2_model(), {.width = 64, .noise_db = kNoNoise}},
        {"gpt2_width_2_noise", gpt2_model(), {.width = 64}},
        {"gpt2_width_3_noise_depth_2", gpt2_model(), {.width = 96, .layers = 4}},
        {"gpt2_inner_only", gpt2_model(), {.inner = 96}},
        {"llama_tied_width_2", llama_model(true, true), {.width = 64, .noise_db = kNoNoise}},
        {"llama_untied_width_4_noise", llama_model(false, false), {.width = 128}},
        {"llama_untied_inner_stays", llama_model(false, true), {.width = 64, .inner = 48}},
        {"llama_depth_3", llama_model(false, true), {.layers = 6}},
    };
}

class Grow : public testing::TestWithParam<Case> {
  protected:
    const ModelConfig from_ = GetParam().model;
    const ModelConfig to_ = grown_config(GetParam().model, GetParam().growth).value();
    const kernels::Layout small_layout_ = make_layout(from_), large_layout_ = make_layout(to_);
    const std::vector<double> small_ = random_parameters(small_layout_);
};

TEST_P(Grow, Logits_are_equal_in_double) {
    std::vector<double> large(large_layout_.size());
    grow_parameters<double>(from_, to_, GetParam().growth, small_, large);
    const TokenBatch batch = batch_of_text();
    const std::span<const std::int32_t> tokens(batch.inputs.data(), 16);
    const auto before = ReferenceTransformer(from_, small_layout_).logits(small_, tokens);
    const auto after = ReferenceTransformer(to_, large_layout_).logits(large, tokens);
    double worst = 0, largest = 0;
    for (std::size_t t = 0; t < before.size(); ++t) {
        for (std::size_t i = 0; i < before[t].size(); ++i) {
            worst = std::max(worst, std::abs(before[t][i] - after[t][i]));
            largest = std::max(largest, std::abs(before[t][i]));
        }
    }
    EXPECT_LT(worst, 1e-12);
    EXPECT_GT(largest, 1);
}

std::vector<float> last_logits(kernels::Ops& ops, const ModelConfig& config,
                               std::span<const float> parameters, std::span<const std::int32_t> tokens) {
    Transformer transformer(ops, config, {.rows_max = 16, .keep = Keep::nothing});
    const auto cells = static_cast<std::size_t>(config.layers * 16 * config.kv_heads * config.head_dim);
    const auto keys = ops.allocate(cells), values = ops.allocate(cells);
    const auto device = ops.allocate(static_cast<std::size_t>(config.vocabulary));
    KvCache cache{.keys = keys.get(), .values = values.get(), .length_max = 16};
    ops.weights_changed();
    transformer.advance(parameters, tokens, cache, device.get());
    std::vector<float> logits(static_cast<std::size_t>(config.vocabulary));
    ops.copy_to_host(logits, device.get());
    return logits;
}

TEST_P(Grow, Logits_are_equal_in_fp32) {
    const std::vector<float> small(small_.begin(), small_.end());
    std::vector<float> large(large_layout_.size());
    grow_parameters<float>(from_, to_, GetParam().growth, small, large);
    const TokenBatch batch = batch_of_text();
    const std::span<const std::int32_t> tokens(batch.inputs.data(), 16);
    const auto ops = kernels::make_cpu_ops(2);
    const auto before = last_logits(*ops, from_, small, tokens);
    const auto after = last_logits(*ops, to_, large, tokens);
    for (std::size_t i = 0; i < before.size(); ++i) ASSERT_NEAR(before[i], after[i], 2e-5) << i;
}

// The gradient of the grown model, without noise, is what grow_moment makes of the small model's gradient; of
// the blocks that are new it promises nothing.
TEST_P(Grow, First_moments_scale_as_gradients_and_second_ones_as_their_squares) {
    Growth exact = GetParam().growth;
    exact.noise_db = kNoNoise;
    const auto ops = kernels::make_cpu_ops(2);
    const TokenBatch batch = batch_of_text();
    const auto gradient = [&](const ModelConfig& config, const std::vector<float>& parameters) {
        Transformer transformer(*ops, config, {.rows_max = 32});
        ops->weights_changed();
        std::vector<float> result(parameters.size());
        (void)transformer.forward_backward(parameters, result, batch);
        return result;
    };
    const std::vector<float> small(small_.begin(), small_.end());
    std::vector<float> large(large_layout_.size()), first(large.size()), second(large.size());
    grow_parameters<float>(from_, to_, exact, small, large);
    std::vector<float> g = gradient(from_, small);
    const std::vector<float> actual = gradient(to_, large);
    grow_moment(from_, to_, Moment::first, g, first);
    for (float& value : g) value *= value;
    grow_moment(from_, to_, Moment::second, g, second);
    std::size_t compared = 0;
    for (const auto& slot : large_layout_.slots()) {
        const bool copy = to_.layers > from_.layers &&
                          std::all_of(first.begin() + static_cast<std::ptrdiff_t>(slot.offset),
                                      first.begin() + static_cast<std::ptrdiff_t>(slot.offset + slot.size),
                                      [](float value) { return value == 0; });
        if (copy) continue;
        ++compared;
        for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
            ASSERT_NEAR(actual[i], first[i], 2e-6) << slot.name << ' ' << i - slot.offset;
            ASSERT_NEAR(second[i], first[i] * first[i], 1e-6 * (1e-3 + second[i])) << slot.name;
        }
    }
    EXPECT_GE(compared, small_layout_.slots().size());
}

INSTANTIATE_TEST_SUITE_P(models, Grow, testing::ValuesIn(cases()),
                         [](const auto& entry) { return std::string(entry.param.name); });

TEST(Growth, Noise_has_the_ratio_asked_for_and_breaks_the_symmetry) {
    const ModelConfig from = llama_model(false, false);
    const Growth growth{.width = 64};
    const ModelConfig to = grown_config(from, growth).value();
    const kernels::Layout small_layout = make_layout(from), large_layout = make_layout(to);
    const std::vector<double> small = random_parameters(small_layout);
    std::vector<double> clean(large_layout.size()), noisy(clean.size()), again(clean.size());
    grow_parameters<double>(from, to, {.width = 64, .noise_db = kNoNoise}, small, clean);
    grow_parameters<double>(from, to, growth, small, noisy);
    grow_parameters<double>(from, to, growth, small, again);
    EXPECT_EQ(noisy, again);  // whoever has the seed has the model
    for (const char* name :
         {"model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"}) {
        const auto& slot = *large_layout.find(name);
        double signal = 0, noise = 0;
        for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
            signal += clean[i] * clean[i];
            noise += (noisy[i] - clean[i]) * (noisy[i] - clean[i]);
        }
        EXPECT_NEAR(10 * std::log10(signal / noise), 10, 0.01) << name;
    }
    for (const char* name : {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"}) {
        const auto& slot = *large_layout.find(name);
        for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) ASSERT_EQ(noisy[i], clean[i]);
    }
}

TEST(Growth, What_is_no_multiple_is_named) {
    const auto message = [](const Growth& growth) {
        const auto config = grown_config(gpt2_model(), growth);
        return config.ok() ? std::string() : config.error().message;
    };
    EXPECT_THAT(message({.width = 48}),
                testing::HasSubstr("--width 48: expected a multiple of the model's width (32)"));
    EXPECT_THAT(message({.width = 16}), testing::HasSubstr("--width 16"));
    EXPECT_THAT(message({.layers = 3}),
                testing::HasSubstr("--depth 3: expected a multiple of the model's layers (2)"));
    EXPECT_THAT(message({.inner = 50}), testing::HasSubstr("--inner 50"));
    EXPECT_THAT(message({.width = 32, .layers = 2}), testing::HasSubstr("nothing to grow"));
    EXPECT_THAT(message({.width = 32 * 4096}), testing::HasSubstr("model.heads = 8192"));
    EXPECT_THAT(message({.width = 64, .noise_db = std::nan("")}), testing::HasSubstr("--noise-db"));
}

}  // namespace
}  // namespace Atoll::model

// The shape of a model: presets, what validate() refuses, and the layout made from it.
#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "base/files.h"
#include "model/architecture.h"
#include "model/optim/optimizer.h"
#include "model/optim/schedule.h"

namespace Atoll::model {
namespace {

TEST(ModelConfig, Every_preset_is_valid_and_found_by_its_name) {
    for (const ModelPreset& preset : model_presets()) {
        SCOPED_TRACE(preset.name);
        const Status status = validate(preset.config);
        EXPECT_TRUE(status.ok()) << status.error().message;
        EXPECT_TRUE(model_preset(preset.name).ok());
        EXPECT_FALSE(preset.summary.empty());
        EXPECT_FALSE(preset.source.empty());
    }
}

TEST(ModelConfig, Presets_have_the_published_number_of_parameters) {
    EXPECT_EQ(make_layout(*model_preset("gpt2-124m")).parameters(), 124'439'808U);
    const std::pair<const char*, double> published[] = {
        {"diloco-35m", 35e6},   {"diloco-90m", 90e6}, {"diloco-180m", 180e6}, {"diloco-330m", 335e6},
        {"diloco-550m", 550e6}, {"diloco-60m", 60e6}, {"diloco-150m", 150e6}, {"diloco-400m", 400e6}};
    for (const auto& [name, parameters] : published) {
        EXPECT_NEAR(static_cast<double>(make_layout(*model_preset(name)).parameters()), parameters,
                    0.05 * parameters)
            << name;
    }
}

TEST(ModelConfig, An_unknown_preset_names_the_nearest_one) {
    const auto result = model_preset("gpt2-142m");
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::invalid);
    EXPECT_THAT(result.error().message, testing::HasSubstr("did you mean gpt2-124m?"));
}

TEST(ModelReference, Has_a_row_for_every_preset_optimizer_and_schedule) {
    const auto document = read_text(ATOLL_SOURCE_DIR "/docs/reference/models.md");
    ASSERT_TRUE(document.ok()) << document.error().message;
    const auto expect_row = [&](std::string_view name) {
        EXPECT_THAT(*document, testing::HasSubstr("\n| `" + std::string(name) + "` |"));
    };
    for (const ModelPreset& preset : model_presets()) expect_row(preset.name);
    for (const OptimizerEntry& entry : optimizers()) expect_row(entry.name);
    for (const ScheduleEntry& entry : schedules()) expect_row(entry.name);
}

struct WrongConfig {
    const char* field;
    void (*spoil)(ModelConfig&);
};

class ModelConfigRefusal : public testing::TestWithParam<WrongConfig> {};

TEST_P(ModelConfigRefusal, names_the_field) {
    ModelConfig config;
    ASSERT_TRUE(validate(config).ok());
    GetParam().spoil(config);
    const Status status = validate(config);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::invalid);
    EXPECT_THAT(status.error().message, testing::HasSubstr(GetParam().field));
}

INSTANTIATE_TEST_SUITE_P(
    fields, ModelConfigRefusal,
    testing::Values(
        WrongConfig{"model.family = \"bert\"", [](ModelConfig& c) { c.family = "bert"; }},
        WrongConfig{"model.vocabulary = 1", [](ModelConfig& c) { c.vocabulary = 1; }},
        WrongConfig{"model.context = 0", [](ModelConfig& c) { c.context = 0; }},
        WrongConfig{"model.layers = -1", [](ModelConfig& c) { c.layers = -1; }},
        WrongConfig{"model.width",
                    [](ModelConfig& c) { c.width = std::numeric_limits<std::int64_t>::max(); }},
        WrongConfig{"model.width = 120", [](ModelConfig& c) { c.width = 120; }},
        WrongConfig{"model.inner = 500", [](ModelConfig& c) { c.inner = 500; }},
        WrongConfig{"model.head_dim = 31", [](ModelConfig& c) { c.head_dim = 31; }},
        WrongConfig{"model.head_dim = 64", [](ModelConfig& c) { c.head_dim = 64; }},
        WrongConfig{"model.kv_heads = 2", [](ModelConfig& c) { c.kv_heads = 2; }},
        WrongConfig{"model.kv_heads = 3", [](ModelConfig& c) { c.family = "llama", c.kv_heads = 3; }},
        WrongConfig{"model.qk_norm", [](ModelConfig& c) { c.qk_norm = true; }},
        WrongConfig{"model.norm_epsilon", [](ModelConfig& c) { c.norm_epsilon = 0; }},
        WrongConfig{"model.rope_theta",
                    [](ModelConfig& c) { c.rope_theta = std::numeric_limits<double>::quiet_NaN(); }},
        WrongConfig{"model.init_std", [](ModelConfig& c) { c.init_std = -0.02; }}));

TEST(Architecture, Matrices_of_one_fused_product_lie_next_to_each_other) {
    ModelConfig config{.family = "llama", .kv_heads = 2};
    config.qk_norm = true;
    const kernels::Layout layout = make_layout(config);
    const auto* q = layout.find("model.layers.1.self_attn.q_proj.weight");
    const auto* k = layout.find("model.layers.1.self_attn.k_proj.weight");
    const auto* v = layout.find("model.layers.1.self_attn.v_proj.weight");
    const auto* gate = layout.find("model.layers.1.mlp.gate_proj.weight");
    const auto* up = layout.find("model.layers.1.mlp.up_proj.weight");
    ASSERT_TRUE(q && k && v && gate && up);
    EXPECT_EQ(k->offset, q->offset + q->size);
    EXPECT_EQ(v->offset, k->offset + k->size);
    EXPECT_EQ(up->offset, gate->offset + gate->size);
}

TEST(Architecture, An_untied_head_is_a_tensor_of_its_own) {
    ModelConfig config;
    EXPECT_EQ(make_layout(config).find("lm_head.weight"), nullptr);
    config.tied_head = false;
    EXPECT_NE(make_layout(config).find("lm_head.weight"), nullptr);
}

}  // namespace
}  // namespace Atoll::model

#include "model/io/hf_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "model/io/hf_config.h"
#include "model/io/safetensors.h"
#include "model/tokenizer/bpe_train.h"
#include "tests/model/io_files.h"
#include "tests/model/io_small_model.h"

namespace Atoll::model {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using tests::SmallModel;

namespace {

class HfFolderTest : public tests::FolderTest {
  protected:
    fs::path model_ = folder_ / "model";

    void write(const SmallModel& model, const HfExport& options = {}) {
        const Status status = export_hf(model_, model.config, model.layout, model.parameters, options);
        ASSERT_TRUE(status.ok()) << status.error().message;
    }
    HfModel read() {
        auto model = import_hf(model_);
        EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().message);
        return model.ok() ? std::move(*model) : HfModel{};
    }
    std::string error() {
        auto model = import_hf(model_);
        EXPECT_FALSE(model.ok());
        return model.ok() ? "" : model.error().message;
    }
    static void expect_equal(const SmallModel& expected, const HfModel& model) {
        ASSERT_EQ(model.layout.signature(), expected.layout.signature());
        EXPECT_EQ(std::memcmp(model.parameters.data(), expected.parameters.data(),
                              expected.parameters.size() * sizeof(float)),
                  0);
    }
    // Rewrites the weights with other names and values.
    void rewrite(const std::function<void(std::vector<TensorToWrite>&)>& change) {
        auto file = SafetensorsFile::open(model_ / "model.safetensors");
        ASSERT_TRUE(file.ok());
        std::vector<std::vector<float>> values;
        std::vector<TensorToWrite> tensors;
        for (const TensorEntry& entry : file->tensors()) {
            values.emplace_back(entry.elements());
            ASSERT_TRUE(file->read(entry, values.back()).ok());
            tensors.push_back({entry.name, entry.shape, values.back()});
        }
        change(tensors);
        ASSERT_TRUE(write_safetensors(model_ / "model.safetensors", tensors).ok());
    }
    json config() { return json::parse(tests::slurp(model_ / "config.json")); }
    void set_config(const json& root) { tests::spill(model_ / "config.json", root.dump()); }
};

TEST_F(HfFolderTest, Gpt2_comes_back_bit_for_bit) {
    const SmallModel model(tests::small_gpt2());
    write(model);
    expect_equal(model, read());
}

TEST_F(HfFolderTest, Llama_and_its_variants_come_back_bit_for_bit) {
    ModelConfig tied = tests::small_llama();
    tied.tied_head = true;
    ModelConfig normed = tests::small_llama();
    normed.qk_norm = true;
    for (const ModelConfig& config : {tests::small_llama(), tied, normed}) {
        const SmallModel model(config);
        write(model);
        const HfModel back = read();
        expect_equal(model, back);
        EXPECT_EQ(back.config.rope_theta, 500000.0);
        EXPECT_EQ(back.config.norm_epsilon, 1e-6);
        EXPECT_EQ(back.config.kv_heads, 2);
        EXPECT_EQ(back.config.qk_norm, config.qk_norm);
    }
}

TEST_F(HfFolderTest, Gpt2_blocks_are_stored_input_by_output) {
    const SmallModel model(tests::small_gpt2());
    write(model);
    const auto file = SafetensorsFile::open(model_ / "model.safetensors");
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->tensors().size(), 2U + 2U * 12U + 2U);
    const TensorEntry* qkv = file->find("transformer.h.1.attn.c_attn.weight");
    ASSERT_NE(qkv, nullptr);
    EXPECT_EQ(qkv->shape, (std::vector<std::int64_t>{32, 96}));
    std::vector<float> stored(32 * 96);
    ASSERT_TRUE(file->read(*qkv, stored).ok());
    const auto ours = model.values("transformer.h.1.attn.c_attn.weight");
    for (std::size_t in = 0; in < 32; ++in) {
        for (std::size_t out = 0; out < 96; ++out) ASSERT_EQ(stored[in * 96 + out], ours[out * 32 + in]);
    }
    EXPECT_EQ(file->find("transformer.wte.weight")->shape, (std::vector<std::int64_t>{70, 32}));
    EXPECT_EQ(config()["model_type"], "gpt2");
    EXPECT_EQ(config()["architectures"][0], "GPT2LMHeadModel");
}

TEST_F(HfFolderTest, Names_without_prefix_and_buffers_of_others_are_accepted) {
    const SmallModel model(tests::small_gpt2());
    write(model);
    const std::vector<float> mask(64, 1.0F);
    const std::vector<float> head(model.values("transformer.wte.weight").begin(),
                                  model.values("transformer.wte.weight").end());
    rewrite([&](std::vector<TensorToWrite>& tensors) {
        for (auto& tensor : tensors) tensor.name = tensor.name.substr(std::string("transformer.").size());
        tensors.push_back({"h.0.attn.bias", {1, 1, 8, 8}, mask});
        tensors.push_back({"h.0.attn.masked_bias", {1}, std::span(mask).first(1)});
        tensors.push_back({"lm_head.weight", {70, 32}, head});
    });
    expect_equal(model, read());
}

TEST_F(HfFolderTest, Shards_and_their_index_come_back) {
    const SmallModel model(tests::small_llama());
    write(model, {.shard_bytes_max = 8000});
    EXPECT_FALSE(fs::exists(model_ / "model.safetensors"));
    const json index = json::parse(tests::slurp(model_ / "model.safetensors.index.json"));
    EXPECT_EQ(index["metadata"]["total_size"], model.layout.parameters() * 4);
    EXPECT_EQ(index["weight_map"].size(), model.layout.slots().size());
    EXPECT_TRUE(fs::exists(model_ / index["weight_map"]["model.norm.weight"].get<std::string>()));
    expect_equal(model, read());
    json outside = index;
    outside["weight_map"]["model.norm.weight"] = "../model.safetensors";
    tests::spill(model_ / "model.safetensors.index.json", outside.dump());
    EXPECT_THAT(error(), HasSubstr("weight_map"));
}

TEST_F(HfFolderTest, Half_precision_is_written_and_read) {
    const SmallModel model(tests::small_llama());
    for (const auto& [dtype, name, epsilon] :
         {std::tuple{DType::bf16, "bfloat16", 1.0 / 256}, std::tuple{DType::f16, "float16", 1.0 / 2048}}) {
        write(model, {.dtype = dtype});
        EXPECT_EQ(config()["torch_dtype"], name);
        const HfModel back = read();
        for (std::size_t i = 0; i < model.parameters.size(); ++i) {
            ASSERT_NEAR(back.parameters.data()[i], model.parameters[i],
                        std::abs(model.parameters[i]) * epsilon + 1e-7);
        }
    }
}

TEST_F(HfFolderTest, Tokenizer_generation_settings_and_card_are_written) {
    auto trainer = BpeTrainer::create();
    ASSERT_TRUE(trainer.ok() && trainer->add("aa aa aa").ok());
    const auto tokenizer = trainer->train(258);
    ASSERT_TRUE(tokenizer.ok());
    tests::spill(folder_ / "tok" / "tokenizer.json", (*tokenizer)->to_json());
    ModelConfig config = tests::small_gpt2();
    config.vocabulary = 258;
    write(SmallModel(config), {.tokenizer = folder_ / "tok", .provenance = {{"run", "a run"}}});
    EXPECT_EQ(this->config()["eos_token_id"], 257);
    EXPECT_EQ(json::parse(tests::slurp(model_ / "generation_config.json"))["eos_token_id"], 257);
    EXPECT_EQ(json::parse(tests::slurp(model_ / "tokenizer_config.json"))["eos_token"], "<|endoftext|>");
    EXPECT_EQ(json::parse(tests::slurp(model_ / "special_tokens_map.json"))["bos_token"], "<|endoftext|>");
    EXPECT_EQ(tests::slurp(model_ / "tokenizer.json"), (*tokenizer)->to_json());
    EXPECT_THAT(tests::slurp(model_ / "README.md"), HasSubstr("a run"));
    EXPECT_EQ(SafetensorsFile::open(model_ / "model.safetensors")->metadata().at("run"), "a run");
}

TEST_F(HfFolderTest, A_failed_export_leaves_the_old_folder) {
    const SmallModel model(tests::small_gpt2());
    write(model);
    const SmallModel other(tests::small_llama());
    EXPECT_FALSE(
        export_hf(model_, other.config, other.layout, other.parameters, {.tokenizer = folder_ / "missing"})
            .ok());
    expect_equal(model, read());
}

TEST_F(HfFolderTest, Tensors_that_are_missing_unexpected_or_misshapen_are_named) {
    const SmallModel model(tests::small_llama());
    write(model);
    rewrite([](std::vector<TensorToWrite>& tensors) {
        std::erase_if(tensors, [](const auto& t) { return t.name == "model.norm.weight"; });
    });
    EXPECT_THAT(error(), HasSubstr("model.norm.weight is missing"));
    write(model);
    const std::vector<float> bias(32);
    rewrite([&](std::vector<TensorToWrite>& tensors) {
        tensors.push_back({"model.layers.0.self_attn.q_proj.bias", {32}, bias});
    });
    EXPECT_THAT(error(), HasSubstr("q_proj.bias has no place"));
    write(model);
    rewrite([](std::vector<TensorToWrite>& tensors) {
        for (auto& t : tensors) {
            if (t.name == "model.layers.1.mlp.up_proj.weight") t.shape = {32, 48};
        }
    });
    EXPECT_THAT(error(), HasSubstr("up_proj.weight has shape [32,48], config.json makes it [48,32]"));
    fs::remove(model_ / "model.safetensors");
    EXPECT_THAT(error(), HasSubstr("safetensors"));
    fs::remove(model_ / "config.json");
    EXPECT_THAT(error(), HasSubstr("config.json"));
}

TEST_F(HfFolderTest, Options_that_change_the_function_are_refused_by_name) {
    write(SmallModel(tests::small_gpt2()));
    const json gpt2 = config();
    for (const auto& [key, value] : {std::pair<const char*, json>{"activation_function", "relu"},
                                     {"scale_attn_weights", false},
                                     {"scale_attn_by_inverse_layer_idx", true},
                                     {"reorder_and_upcast_attn", true},
                                     {"model_type", "bert"}}) {
        json changed = gpt2;
        changed[key] = value;
        set_config(changed);
        EXPECT_THAT(error(), HasSubstr(key));
    }
    write(SmallModel(tests::small_llama()));
    const json llama = config();
    for (const auto& [key, value] : {std::pair<const char*, json>{"hidden_act", "gelu"},
                                     {"attention_bias", true},
                                     {"mlp_bias", true},
                                     {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
                                     {"rope_parameters", {{"rope_type", "llama3"}}},
                                     {"hidden_size", 33},
                                     {"hidden_size", -4},
                                     {"hidden_size", "wide"},
                                     {"num_attention_heads", 0}}) {
        json changed = llama;
        changed[key] = value;
        set_config(changed);
        EXPECT_FALSE(error().empty()) << key;
    }
    json changed = llama;
    changed.erase("hidden_size");
    set_config(changed);
    EXPECT_THAT(error(), HasSubstr("hidden_size = (missing)"));
}

TEST(HfConfig, Rope_is_read_from_either_place_and_written_to_both) {
    const json written = json::parse(config_to_hf(tests::small_llama(), std::nullopt, "float32"));
    EXPECT_EQ(written["rope_theta"], 500000.0);
    EXPECT_EQ(written["rope_parameters"]["rope_theta"], 500000.0);
    EXPECT_TRUE(written["eos_token_id"].is_null());
    for (const char* gone : {"rope_theta", "rope_parameters"}) {
        json one = written;
        one.erase(gone);
        const auto config = config_from_hf(one.dump(), "config.json");
        ASSERT_TRUE(config.ok()) << config.error().message;
        EXPECT_EQ(config->rope_theta, 500000.0);
    }
}

// The configuration as its publishers wrote it.
TEST(HfConfig, The_original_gpt2_is_understood) {
    const auto config = config_from_hf(
        R"({"activation_function":"gelu_new","architectures":["GPT2LMHeadModel"],"attn_pdrop":0.1,
        "bos_token_id":50256,"embd_pdrop":0.1,"eos_token_id":50256,"initializer_range":0.02,"layer_norm_epsilon":1e-05,
        "model_type":"gpt2","n_ctx":1024,"n_embd":768,"n_head":12,"n_layer":12,"n_positions":1024,"resid_pdrop":0.1,
        "summary_activation":null,"task_specific_params":{"text-generation":{"do_sample":true,"max_length":50}},"vocab_size":50257})",
        "config.json");
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(make_layout(*config).parameters(), 124'439'808U);
    EXPECT_TRUE(config->tied_head);
}

TEST_F(HfFolderTest, Random_damage_never_crashes) {
    const SmallModel model(tests::small_gpt2());
    write(model);
    Rng rng(17);
    for (const char* name : {"config.json", "model.safetensors"}) {
        const std::string whole = tests::slurp(model_ / name);
        int refused = 0;
        for (int i = 0; i < 600; ++i) {
            // Most bytes are weights, whose damage only a checkpoint's hash can see: damage the front too.
            const std::size_t front = std::min<std::size_t>(whole.size(), 3000);
            tests::spill(model_ / name,
                         i % 2 == 0 ? tests::damage(whole, rng)
                                    : tests::damage(whole.substr(0, front), rng) + whole.substr(front));
            refused += import_hf(model_).ok() ? 0 : 1;
        }
        EXPECT_GT(refused, 100) << name;
        tests::spill(model_ / name, whole);
    }
    expect_equal(model, read());
}

}  // namespace

}  // namespace Atoll::model

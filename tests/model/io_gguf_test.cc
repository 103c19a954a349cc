#include "model/io/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <variant>

#include "model/io/half.h"
#include "model/tokenizer/bpe_train.h"
#include "tests/model/io_files.h"
#include "tests/model/io_small_model.h"

namespace Atoll::model {

using ::testing::ElementsAre;
using tests::SmallModel;

namespace {

using Texts = std::vector<std::string>;
using Numbers = std::vector<std::int32_t>;
using Value = std::variant<std::uint32_t, float, bool, std::string, Texts, Numbers>;

struct Tensor {
    std::vector<std::uint64_t> dims;
    std::uint32_t type;
    std::uint64_t offset;
};

// A reader of its own, straight from the format's description.
struct Gguf {
    std::string bytes;
    std::size_t at = 0;
    std::map<std::string, Value> metadata;
    std::map<std::string, Tensor> tensors;
    std::size_t data = 0;

    template <typename T>
    T raw() {
        T value{};
        std::memcpy(&value, bytes.data() + at, sizeof value);
        at += sizeof value;
        return value;
    }
    std::string text() {
        const auto size = raw<std::uint64_t>();
        at += size;
        return bytes.substr(at - size, size);
    }
    Value value(std::uint32_t type) {
        switch (type) {
            case 4: return raw<std::uint32_t>();
            case 6: return raw<float>();
            case 7: return raw<std::uint8_t>() != 0;
            case 8: return text();
            default: break;
        }
        EXPECT_EQ(type, 9U);
        const auto item = raw<std::uint32_t>();
        const auto size = raw<std::uint64_t>();
        if (item == 8) {
            Texts values(size);
            for (auto& v : values) v = text();
            return values;
        }
        EXPECT_EQ(item, 5U);
        Numbers values(size);
        for (auto& v : values) v = raw<std::int32_t>();
        return values;
    }
    explicit Gguf(std::string file) : bytes(std::move(file)) {
        EXPECT_EQ(bytes.substr(0, 4), "GGUF");
        at = 4;
        EXPECT_EQ(raw<std::uint32_t>(), 3U);
        const auto tensor_count = raw<std::uint64_t>();
        const auto pairs = raw<std::uint64_t>();
        for (std::uint64_t i = 0; i < pairs; ++i) {
            const std::string key = text();
            const auto type = raw<std::uint32_t>();
            EXPECT_TRUE(metadata.emplace(key, value(type)).second) << key;
        }
        for (std::uint64_t i = 0; i < tensor_count; ++i) {
            const std::string name = text();
            EXPECT_LE(name.size(), 64U);
            Tensor tensor;
            tensor.dims.resize(raw<std::uint32_t>());
            for (auto& dim : tensor.dims) dim = raw<std::uint64_t>();
            tensor.type = raw<std::uint32_t>();
            tensor.offset = raw<std::uint64_t>();
            EXPECT_EQ(tensor.offset % 32, 0U);
            EXPECT_TRUE(tensors.emplace(name, tensor).second) << name;
        }
        data = (at + 31) / 32 * 32;
    }
    std::vector<float> values(const std::string& name) {
        const Tensor& tensor = tensors.at(name);
        std::size_t count = 1;
        for (const auto dim : tensor.dims) count *= dim;
        std::vector<float> result(count);
        at = data + tensor.offset;
        for (float& v : result) v = tensor.type == 1 ? from_f16(raw<std::uint16_t>()) : raw<float>();
        EXPECT_LE(at, bytes.size());
        return result;
    }
};

class GgufTest : public tests::FolderTest {
  protected:
    Gguf write(const SmallModel& model, const GgufExport& options = {}) {
        const auto path = folder_ / "model.gguf";
        const Status status = write_gguf(path, model.config, model.layout, model.parameters, options);
        EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
        return Gguf(tests::slurp(path));
    }
    static std::vector<float> of(const SmallModel& model, std::string_view name) {
        const auto values = model.values(name);
        return {values.begin(), values.end()};
    }
};

TEST_F(GgufTest, Gpt2_keeps_its_values_under_the_names_of_the_format) {
    const SmallModel model(tests::small_gpt2());
    Gguf file = write(model);
    EXPECT_EQ(std::get<std::string>(file.metadata.at("general.architecture")), "gpt2");
    EXPECT_EQ(std::get<std::uint32_t>(file.metadata.at("gpt2.block_count")), 2U);
    EXPECT_EQ(std::get<std::uint32_t>(file.metadata.at("gpt2.context_length")), 8U);
    EXPECT_FLOAT_EQ(std::get<float>(file.metadata.at("gpt2.attention.layer_norm_epsilon")), 1e-5F);
    EXPECT_EQ(file.tensors.size(), model.layout.slots().size());
    EXPECT_THAT(file.tensors.at("blk.1.attn_qkv.weight").dims, ElementsAre(32, 96));
    EXPECT_EQ(file.values("blk.1.attn_qkv.weight"), of(model, "transformer.h.1.attn.c_attn.weight"));
    EXPECT_EQ(file.values("blk.0.ffn_down.weight"), of(model, "transformer.h.0.mlp.c_proj.weight"));
    EXPECT_EQ(file.values("blk.0.attn_norm.bias"), of(model, "transformer.h.0.ln_1.bias"));
    EXPECT_EQ(file.values("token_embd.weight"), of(model, "transformer.wte.weight"));
    EXPECT_EQ(file.values("position_embd.weight"), of(model, "transformer.wpe.weight"));
    EXPECT_EQ(file.values("output_norm.bias"), of(model, "transformer.ln_f.bias"));
}

// Rotating interleaved pairs of the written rows must give what rotating halves of ours gives, up to the same
// order.
TEST_F(GgufTest, Llama_queries_and_keys_are_permuted_to_pairs) {
    const SmallModel model(tests::small_llama());
    Gguf file = write(model);
    EXPECT_EQ(std::get<std::string>(file.metadata.at("general.architecture")), "llama");
    EXPECT_EQ(std::get<std::uint32_t>(file.metadata.at("llama.attention.head_count_kv")), 2U);
    EXPECT_FLOAT_EQ(std::get<float>(file.metadata.at("llama.rope.freq_base")), 500000.0F);
    for (const auto& [ours_name, name, heads] :
         {std::tuple{"self_attn.q_proj", "attn_q", 4U}, std::tuple{"self_attn.k_proj", "attn_k", 2U}}) {
        const auto ours = of(model, std::string("model.layers.1.") + ours_name + ".weight");
        const auto theirs = file.values(std::string("blk.1.") + name + ".weight");
        constexpr std::size_t kWidth = 32;
        constexpr std::size_t kHead = 8;
        for (std::size_t head = 0; head < heads; ++head) {
            for (std::size_t pair = 0; pair < kHead / 2; ++pair) {
                for (std::size_t part = 0; part < 2; ++part) {
                    const std::size_t from = (head * kHead + pair + part * kHead / 2) * kWidth;
                    const std::size_t to = (head * kHead + 2 * pair + part) * kWidth;
                    for (std::size_t c = 0; c < kWidth; ++c) ASSERT_EQ(theirs[to + c], ours[from + c]);
                }
            }
        }
    }
    EXPECT_EQ(file.values("blk.0.attn_v.weight"), of(model, "model.layers.0.self_attn.v_proj.weight"));
    EXPECT_EQ(file.values("blk.0.ffn_gate.weight"), of(model, "model.layers.0.mlp.gate_proj.weight"));
    EXPECT_EQ(file.values("output.weight"), of(model, "lm_head.weight"));
}

TEST_F(GgufTest, Half_precision_is_for_matrices_only) {
    const SmallModel model(tests::small_llama());
    Gguf file = write(model, {.dtype = DType::f16});
    EXPECT_EQ(file.tensors.at("output_norm.weight").type, 0U);
    EXPECT_EQ(file.tensors.at("blk.0.ffn_up.weight").type, 1U);
    const auto half = file.values("blk.0.ffn_up.weight");
    const auto full = of(model, "model.layers.0.mlp.up_proj.weight");
    for (std::size_t i = 0; i < full.size(); ++i)
        ASSERT_NEAR(half[i], full[i], std::abs(full[i]) / 2048 + 1e-7);
}

TEST_F(GgufTest, Normalised_queries_keep_their_order) {
    ModelConfig config = tests::small_llama();
    config.qk_norm = true;
    const SmallModel model(config);
    Gguf file = write(model);
    EXPECT_EQ(std::get<std::string>(file.metadata.at("general.architecture")), "qwen3");
    EXPECT_EQ(file.values("blk.0.attn_q.weight"), of(model, "model.layers.0.self_attn.q_proj.weight"));
    EXPECT_EQ(file.values("blk.0.attn_q_norm.weight"), of(model, "model.layers.0.self_attn.q_norm.weight"));
}

TEST_F(GgufTest, The_tokenizer_is_in_it_padded_to_the_models_vocabulary) {
    auto trainer = BpeTrainer::create();
    ASSERT_TRUE(trainer.ok() && trainer->add("the the the").ok());
    const auto tokenizer = trainer->train(260);
    ASSERT_TRUE(tokenizer.ok());
    ASSERT_EQ((*tokenizer)->vocabulary(), 260);
    tests::spill(folder_ / "tokenizer.json", (*tokenizer)->to_json());
    ModelConfig config = tests::small_gpt2();
    config.vocabulary = 264;
    Gguf file = write(SmallModel(config), {.tokenizer = folder_});
    const auto& tokens = std::get<Texts>(file.metadata.at("tokenizer.ggml.tokens"));
    const auto& types = std::get<Numbers>(file.metadata.at("tokenizer.ggml.token_type"));
    ASSERT_EQ(tokens.size(), 264U);
    EXPECT_EQ(tokens[' '], "Ġ");
    EXPECT_EQ(tokens[259], "<|endoftext|>");
    EXPECT_EQ(types[' '], 1);
    EXPECT_EQ(types[259], 3);
    EXPECT_EQ(types[263], 5);
    EXPECT_EQ(std::get<Texts>(file.metadata.at("tokenizer.ggml.merges")).size(), 3U);
    EXPECT_EQ(std::get<std::uint32_t>(file.metadata.at("tokenizer.ggml.eos_token_id")), 259U);
    config.vocabulary = 64;
    const SmallModel small(config);
    EXPECT_FALSE(
        write_gguf(folder_ / "x.gguf", small.config, small.layout, small.parameters, {.tokenizer = folder_})
            .ok());
    EXPECT_FALSE(std::filesystem::exists(folder_ / "x.gguf"));
}

}  // namespace

}  // namespace Atoll::model

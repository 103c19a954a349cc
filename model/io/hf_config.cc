#include "model/io/hf_config.h"

#include <fmt/core.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "model/io/json_text.h"

namespace Atoll::model {

using nlohmann::json;

namespace {

std::string shown(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 200);
}

// Typed access to a configuration; null counts as absent. The first problem is kept and ends the reading.
class Reader {
  public:
    explicit Reader(const json& root) : root_(root) {}

    [[nodiscard]] const json* find(const char* key) const {
        const auto it = root_.find(key);
        return it == root_.end() || it->is_null() ? nullptr : &*it;
    }
    std::int64_t size(const char* key, std::optional<std::int64_t> absent = std::nullopt) {
        const json* value = find(key);
        if (value == nullptr && absent) return *absent;
        if (value != nullptr && value->is_number_unsigned() &&
            value->get<std::uint64_t>() <= std::numeric_limits<std::int32_t>::max()) {
            return value->get<std::int64_t>();
        }
        fail(fmt::format("{} = {}: expected a number of at most 2^31 - 1", key,
                         value == nullptr ? "(missing)" : shown(*value)));
        return 0;
    }
    double number(const char* key, double absent) {
        const json* value = find(key);
        if (value == nullptr) return absent;
        if (!value->is_number()) fail(fmt::format("{} = {}: expected a number", key, shown(*value)));
        return value->is_number() ? value->get<double>() : absent;
    }
    bool boolean(const char* key, bool absent) {
        const json* value = find(key);
        if (value == nullptr) return absent;
        if (!value->is_boolean()) fail(fmt::format("{} = {}: expected true or false", key, shown(*value)));
        return value->is_boolean() ? value->get<bool>() : absent;
    }
    // An option of which only one value is implemented.
    void require(const char* key, const json& only, const char* also = nullptr) {
        const json* value = find(key);
        if (value == nullptr || *value == only || (also != nullptr && *value == also)) return;
        fail(fmt::format("{} = {} is not supported (only {})", key, shown(*value), shown(only)));
    }
    void fail(const std::string& problem) {
        if (status_.ok()) status_ = Error{ErrorCode::invalid, problem};
    }
    [[nodiscard]] const Status& status() const { return status_; }

  private:
    const json& root_;
    Status status_;
};

ModelConfig read_gpt2(Reader& reader) {
    ModelConfig config;
    config.family = "gpt2";
    config.vocabulary = reader.size("vocab_size");
    config.context = reader.size(reader.find("n_positions") != nullptr ? "n_positions" : "n_ctx");
    config.width = reader.size("n_embd");
    config.layers = reader.size("n_layer");
    config.heads = config.kv_heads = reader.size("n_head");
    config.inner = reader.size("n_inner", 4 * config.width);
    config.head_dim = config.heads > 0 ? config.width / config.heads : 0;
    config.tied_head = reader.boolean("tie_word_embeddings", true);
    config.norm_epsilon = reader.number("layer_norm_epsilon", 1e-5);
    config.init_std = reader.number("initializer_range", 0.02);
    reader.require("activation_function", "gelu_new", "gelu_pytorch_tanh");  // two names of one function
    reader.require("scale_attn_weights", true);
    reader.require("scale_attn_by_inverse_layer_idx", false);
    reader.require("reorder_and_upcast_attn", false);
    reader.require("add_cross_attention", false);
    return config;
}

// transformers 4 has rope_theta and rope_scaling at the top, transformers 5 both in rope_parameters.
double read_rope(Reader& reader) {
    double theta = reader.number("rope_theta", 10000.0);
    for (const char* table : {"rope_parameters", "rope_scaling"}) {
        const json* value = reader.find(table);
        if (value == nullptr) continue;
        if (!value->is_object()) {
            reader.fail(fmt::format("{} = {}: expected a table", table, shown(*value)));
            continue;
        }
        Reader rope(*value);
        rope.require("rope_type", "default");
        rope.require("type", "default");
        rope.require("partial_rotary_factor", 1.0);
        theta = rope.number("rope_theta", theta);
        if (!rope.status().ok()) reader.fail(rope.status().error().within(table).message);
    }
    return theta;
}

ModelConfig read_llama(Reader& reader, bool is_qwen3) {
    ModelConfig config;
    config.family = "llama";
    config.vocabulary = reader.size("vocab_size");
    config.context = reader.size("max_position_embeddings");
    config.width = reader.size("hidden_size");
    config.inner = reader.size("intermediate_size");
    config.layers = reader.size("num_hidden_layers");
    config.heads = reader.size("num_attention_heads");
    config.kv_heads = reader.size("num_key_value_heads", config.heads);
    const std::int64_t even_head = config.heads > 0 ? config.width / config.heads : 0;
    config.head_dim = is_qwen3 ? reader.size("head_dim", 128) : reader.size("head_dim", even_head);
    config.tied_head = reader.boolean("tie_word_embeddings", false);
    config.qk_norm = is_qwen3;
    config.norm_epsilon = reader.number("rms_norm_eps", 1e-6);
    config.init_std = reader.number("initializer_range", 0.02);
    config.rope_theta = read_rope(reader);
    reader.require("hidden_act", "silu");
    reader.require("attention_bias", false);
    reader.require("mlp_bias", false);
    reader.require("partial_rotary_factor", 1.0);
    reader.require("use_sliding_window", false);
    return config;
}

}  // namespace

Result<ModelConfig> config_from_hf(const std::string& json_text, const std::string& origin) {
    ATOLL_TRY(check_json_object(json_text, origin));
    const json root = json::parse(json_text, nullptr, false);
    Reader reader(root);
    const json* type = reader.find("model_type");
    ModelConfig config;
    if (type != nullptr && *type == "gpt2") {
        config = read_gpt2(reader);
    } else if (type != nullptr && (*type == "llama" || *type == "qwen3")) {
        config = read_llama(reader, *type == "qwen3");
    } else {
        reader.fail(fmt::format("model_type = {}: expected gpt2, llama or qwen3",
                                type == nullptr ? "(missing)" : shown(*type)));
    }
    if (!reader.status()) return reader.status().error().within(origin);
    const Status valid = validate(config);
    if (!valid) return valid.error().within(origin);
    return config;
}

std::string config_to_hf(const ModelConfig& config, std::optional<std::int32_t> end_of_text,
                         const std::string& dtype) {
    const json token = end_of_text ? json(*end_of_text) : json();
    nlohmann::ordered_json root;
    if (config.family == "gpt2") {
        root = {{"architectures", {"GPT2LMHeadModel"}},
                {"model_type", "gpt2"},
                {"vocab_size", config.vocabulary},
                {"n_positions", config.context},
                {"n_ctx", config.context},
                {"n_embd", config.width},
                {"n_layer", config.layers},
                {"n_head", config.heads},
                {"n_inner", config.inner},
                {"activation_function", "gelu_new"},
                {"layer_norm_epsilon", config.norm_epsilon},
                {"resid_pdrop", 0.0},
                {"embd_pdrop", 0.0},
                {"attn_pdrop", 0.0}};
    } else {
        const char* type = config.qk_norm ? "qwen3" : "llama";
        const char* architecture = config.qk_norm ? "Qwen3ForCausalLM" : "LlamaForCausalLM";
        root = {{"architectures", {architecture}},
                {"model_type", type},
                {"vocab_size", config.vocabulary},
                {"max_position_embeddings", config.context},
                {"hidden_size", config.width},
                {"intermediate_size", config.inner},
                {"num_hidden_layers", config.layers},
                {"num_attention_heads", config.heads},
                {"num_key_value_heads", config.kv_heads},
                {"head_dim", config.head_dim},
                {"hidden_act", "silu"},
                {"rms_norm_eps", config.norm_epsilon},
                {"attention_bias", false},
                {"mlp_bias", false},
                // Both places: programs exist that read only one.
                {"rope_theta", config.rope_theta},
                {"rope_scaling", nullptr},
                {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", config.rope_theta}}}};
    }
    root["initializer_range"] = config.init_std;
    root["tie_word_embeddings"] = config.tied_head;
    root["bos_token_id"] = token;
    root["eos_token_id"] = token;
    root["torch_dtype"] = dtype;
    root["use_cache"] = true;
    return root.dump(2) + "\n";
}

}  // namespace Atoll::model

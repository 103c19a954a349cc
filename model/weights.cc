#include "model/weights.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string>

#include "base/check.h"

namespace Atoll::model {

namespace {

Role role(const kernels::Layout& layout, const std::string& name) {
    const kernels::TensorSlot* slot = layout.find(name);
    ATOLL_CHECK(slot != nullptr);
    return Role(slot->offset);
}

Affine affine(const kernels::Layout& layout, const std::string& name) {
    return {role(layout, name + ".weight"), role(layout, name + ".bias")};
}

Affine linear(const kernels::Layout& layout, const std::string& name) {
    return {role(layout, name + ".weight"), {}};
}

Weights gpt2_weights(const ModelConfig& config, const kernels::Layout& layout) {
    Weights weights;
    weights.token_embedding = role(layout, "transformer.wte.weight");
    weights.position_embedding = role(layout, "transformer.wpe.weight");
    for (std::int64_t i = 0; i < config.layers; ++i) {
        const std::string block = fmt::format("transformer.h.{}.", i);
        weights.blocks.push_back({.attention_norm = affine(layout, block + "ln_1"),
                                  .qkv = affine(layout, block + "attn.c_attn"),
                                  .q_norm = {},
                                  .k_norm = {},
                                  .attention_out = affine(layout, block + "attn.c_proj"),
                                  .mlp_norm = affine(layout, block + "ln_2"),
                                  .mlp_in = affine(layout, block + "mlp.c_fc"),
                                  .mlp_out = affine(layout, block + "mlp.c_proj")});
    }
    weights.final_norm = affine(layout, "transformer.ln_f");
    return weights;
}

Weights llama_weights(const ModelConfig& config, const kernels::Layout& layout) {
    Weights weights;
    weights.token_embedding = role(layout, "model.embed_tokens.weight");
    for (std::int64_t i = 0; i < config.layers; ++i) {
        const std::string block = fmt::format("model.layers.{}.", i);
        const auto q_or_k_norm = [&](const char* name) {
            return config.qk_norm ? role(layout, block + "self_attn." + name + "_norm.weight") : Role{};
        };
        weights.blocks.push_back({.attention_norm = linear(layout, block + "input_layernorm"),
                                  .qkv = linear(layout, block + "self_attn.q_proj"),
                                  .q_norm = q_or_k_norm("q"),
                                  .k_norm = q_or_k_norm("k"),
                                  .attention_out = linear(layout, block + "self_attn.o_proj"),
                                  .mlp_norm = linear(layout, block + "post_attention_layernorm"),
                                  .mlp_in = linear(layout, block + "mlp.gate_proj"),
                                  .mlp_out = linear(layout, block + "mlp.down_proj")});
    }
    weights.final_norm = linear(layout, "model.norm");
    return weights;
}

}  // namespace

Weights locate_weights(const ModelConfig& config, const kernels::Layout& layout) {
    Weights weights = config.family == "gpt2" ? gpt2_weights(config, layout) : llama_weights(config, layout);
    weights.head = config.tied_head ? weights.token_embedding : role(layout, "lm_head.weight");
    return weights;
}

bool writes_to_residual(const kernels::TensorSlot& slot) {
    constexpr std::array kLast = {".c_proj.", ".o_proj.", ".down_proj."};
    return std::ranges::any_of(kLast,
                               [&](const char* name) { return slot.name.find(name) != std::string::npos; });
}

bool is_token_table(const kernels::TensorSlot& slot) {
    constexpr std::array kTables = {"wte.weight", "wpe.weight", "embed_tokens.weight", "lm_head.weight"};
    return std::ranges::any_of(kTables, [&](const char* name) { return slot.name.ends_with(name); });
}

}  // namespace Atoll::model

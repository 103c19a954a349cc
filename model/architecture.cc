#include "model/architecture.h"

#include <fmt/core.h>

#include "base/check.h"

namespace Atoll::model {

namespace {

kernels::Layout gpt2_layout(const ModelConfig& c) {
    kernels::Layout layout;
    const std::string prefix = "transformer.";
    layout.add(prefix + "wte.weight", {c.vocabulary, c.width});
    layout.add(prefix + "wpe.weight", {c.context, c.width});
    for (std::int64_t i = 0; i < c.layers; ++i) {
        const std::string block = fmt::format("{}h.{}.", prefix, i);
        layout.add(block + "ln_1.weight", {c.width});
        layout.add(block + "ln_1.bias", {c.width});
        layout.add(block + "attn.c_attn.weight", {3 * c.width, c.width});
        layout.add(block + "attn.c_attn.bias", {3 * c.width});
        layout.add(block + "attn.c_proj.weight", {c.width, c.width});
        layout.add(block + "attn.c_proj.bias", {c.width});
        layout.add(block + "ln_2.weight", {c.width});
        layout.add(block + "ln_2.bias", {c.width});
        layout.add(block + "mlp.c_fc.weight", {c.inner, c.width});
        layout.add(block + "mlp.c_fc.bias", {c.inner});
        layout.add(block + "mlp.c_proj.weight", {c.width, c.inner});
        layout.add(block + "mlp.c_proj.bias", {c.width});
    }
    layout.add(prefix + "ln_f.weight", {c.width});
    layout.add(prefix + "ln_f.bias", {c.width});
    if (!c.tied_head) layout.add("lm_head.weight", {c.vocabulary, c.width});
    return layout;
}

kernels::Layout llama_layout(const ModelConfig& c) {
    kernels::Layout layout;
    const std::int64_t queries = c.heads * c.head_dim;
    const std::int64_t keys = c.kv_heads * c.head_dim;
    layout.add("model.embed_tokens.weight", {c.vocabulary, c.width});
    for (std::int64_t i = 0; i < c.layers; ++i) {
        const std::string block = fmt::format("model.layers.{}.", i);
        layout.add(block + "input_layernorm.weight", {c.width});
        layout.add(block + "self_attn.q_proj.weight", {queries, c.width});
        layout.add(block + "self_attn.k_proj.weight", {keys, c.width});
        layout.add(block + "self_attn.v_proj.weight", {keys, c.width});
        layout.add(block + "self_attn.o_proj.weight", {c.width, queries});
        if (c.qk_norm) {
            layout.add(block + "self_attn.q_norm.weight", {c.head_dim});
            layout.add(block + "self_attn.k_norm.weight", {c.head_dim});
        }
        layout.add(block + "post_attention_layernorm.weight", {c.width});
        layout.add(block + "mlp.gate_proj.weight", {c.inner, c.width});
        layout.add(block + "mlp.up_proj.weight", {c.inner, c.width});
        layout.add(block + "mlp.down_proj.weight", {c.width, c.inner});
    }
    layout.add("model.norm.weight", {c.width});
    if (!c.tied_head) layout.add("lm_head.weight", {c.vocabulary, c.width});
    return layout;
}

}  // namespace

kernels::Layout make_layout(const ModelConfig& config) {
    ATOLL_CHECK(validate(config).ok());
    return config.family == "gpt2" ? gpt2_layout(config) : llama_layout(config);
}

}  // namespace Atoll::model

// The shape of a transformer, and presets by name. A value.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace Atoll::model {

struct ModelConfig {
    std::string family =
        "gpt2";  // gpt2 (learned positions, LayerNorm, GELU, biases) or llama (RoPE, RMSNorm, SwiGLU)
    std::int64_t vocabulary = 256;
    std::int64_t context = 128;  // longest sequence
    std::int64_t layers = 4;
    std::int64_t heads = 4;
    std::int64_t kv_heads = 4;  // < heads: grouped-query attention (llama only)
    std::int64_t width = 128;
    std::int64_t inner = 512;  // hidden width of the MLP
    std::int64_t head_dim = 32;
    bool tied_head = true;  // output head = token embedding
    bool qk_norm = false;   // RMSNorm on q and k of each head (llama only)
    double norm_epsilon = 1e-5;
    double rope_theta = 10000.0;
    double init_std = 0.02;
    // How initial values and rates follow from width and layers: standard, mup or completep
    // (model/parameterization.h); the base is the shape at which all three are the same.
    std::string parameterization = "standard";
    std::int64_t base_width = 256;
    std::int64_t base_layers = 2;
};

// Errors (invalid): names the field, its value and what was expected.
[[nodiscard]] Status validate(const ModelConfig& config);

struct ModelPreset {
    std::string_view name;
    std::string_view summary;
    std::string_view source;
    ModelConfig config;
};
[[nodiscard]] std::span<const ModelPreset> model_presets();
[[nodiscard]] Result<ModelConfig> model_preset(std::string_view name);

}  // namespace Atoll::model

#include "model/config.h"

#include <fmt/core.h>

#include <array>
#include <vector>

#include "base/options.h"

namespace Atoll::model {

namespace {

Error wrong(std::string_view field, const std::string& value, const std::string& expected) {
    return {ErrorCode::invalid, fmt::format("model.{} = {}: expected {}", field, value, expected)};
}

struct IntegerLimit {
    std::string_view field;
    std::int64_t ModelConfig::*value;
    std::int64_t low;
    std::int64_t high;
    std::int64_t multiple;
};

// Widths are multiples of 16 floats (one cache line), so that neighbouring tensors of the flat vector have no
// padding between them. The upper limits keep every product of two of them far inside 64 bits.
constexpr std::array kIntegerLimits = {
    IntegerLimit{"vocabulary", &ModelConfig::vocabulary, 2, 1LL << 24, 1},
    IntegerLimit{"context", &ModelConfig::context, 1, 1LL << 22, 1},
    IntegerLimit{"layers", &ModelConfig::layers, 1, 1024, 1},
    IntegerLimit{"heads", &ModelConfig::heads, 1, 1024, 1},
    IntegerLimit{"kv_heads", &ModelConfig::kv_heads, 1, 1024, 1},
    IntegerLimit{"width", &ModelConfig::width, 16, 1LL << 16, 16},
    IntegerLimit{"inner", &ModelConfig::inner, 16, 1LL << 18, 16},
    IntegerLimit{"head_dim", &ModelConfig::head_dim, 2, 1024, 2},
    IntegerLimit{"base_width", &ModelConfig::base_width, 1, 1LL << 16, 1},
    IntegerLimit{"base_layers", &ModelConfig::base_layers, 1, 1024, 1},
};

Status validate_gpt2(const ModelConfig& config) {
    if (config.kv_heads != config.heads) {
        return wrong("kv_heads", std::to_string(config.kv_heads),
                     fmt::format("{} (= heads): family gpt2 has no grouped queries", config.heads));
    }
    if (config.heads * config.head_dim != config.width) {
        return wrong(
            "head_dim", std::to_string(config.head_dim),
            fmt::format("width / heads for family gpt2 (width {}, heads {})", config.width, config.heads));
    }
    if (config.qk_norm) return wrong("qk_norm", "true", "false: only family llama normalises q and k");
    return {};
}

// The Llama family has two matrices in the first half of its MLP where the papers' models have one: 2/3 of
// their hidden width (rounded to 16) keeps parameters and flops.
constexpr std::int64_t gated_inner(std::int64_t inner) { return (inner * 2 / 3 + 8) / 16 * 16; }

// Charles et al. 2025, table 3: vocabulary 32,768, sequence 2,048, QK-norm.
constexpr ModelConfig scaling_laws(std::int64_t layers, std::int64_t heads, std::int64_t width) {
    return {.family = "llama",
            .vocabulary = 32768,
            .context = 2048,
            .layers = layers,
            .heads = heads,
            .kv_heads = heads,
            .width = width,
            .inner = gated_inner(4 * width),
            .head_dim = 64,
            .qk_norm = true};
}

// Douillard et al. 2023, table 1: vocabulary 32,000, sequence 1,024, no QK-norm.
constexpr ModelConfig diloco(std::int64_t layers, std::int64_t heads, std::int64_t width,
                             std::int64_t head_dim) {
    return {.family = "llama",
            .vocabulary = 32000,
            .context = 1024,
            .layers = layers,
            .heads = heads,
            .kv_heads = heads,
            .width = width,
            .inner = gated_inner(4 * width),
            .head_dim = head_dim};
}

constexpr std::string_view kScalingLawsSource = "Charles et al. 2025, arXiv 2503.09799, table 3";
constexpr std::string_view kDilocoSource = "Douillard et al. 2023, arXiv 2311.08105, table 1";

const std::array kPresets = {
    // In a minute and a half on two cores many small steps learn more than fewer large ones: the demo ended
    // at
    // 1.69 nats per byte against 1.85 with four layers and 128 bytes of context.
    ModelPreset{"tiny",
                "bytes, 0.5 M parameters: learns English words in a minute on two cores",
                "Atoll's demo",
                {.family = "llama",
                 .vocabulary = 256,
                 .context = 64,
                 .layers = 2,
                 .heads = 4,
                 .kv_heads = 4,
                 .width = 128,
                 .inner = 352,
                 .head_dim = 32,
                 .tied_head = false,
                 .qk_norm = true}},
    ModelPreset{"gpt2-124m",
                "GPT-2 small, 124 M parameters",
                "Radford et al. 2019; Hugging Face openai-community/gpt2",
                {.family = "gpt2",
                 .vocabulary = 50257,
                 .context = 1024,
                 .layers = 12,
                 .heads = 12,
                 .kv_heads = 12,
                 .width = 768,
                 .inner = 3072,
                 .head_dim = 64}},
    ModelPreset{"llama-150m",
                "Llama, 150 M parameters without the embeddings",
                "Jaghouar et al. 2024 (OpenDiLoCo), arXiv 2407.07852",
                {.family = "llama",
                 .vocabulary = 32000,
                 .context = 1024,
                 .layers = 12,
                 .heads = 16,
                 .kv_heads = 16,
                 .width = 1024,
                 .inner = 2688,
                 .head_dim = 64,
                 .tied_head = false}},
    ModelPreset{"diloco-35m", "DiLoCo scaling laws, 35 M parameters", kScalingLawsSource,
                scaling_laws(6, 8, 512)},
    ModelPreset{"diloco-90m", "DiLoCo scaling laws, 90 M parameters", kScalingLawsSource,
                scaling_laws(9, 12, 768)},
    ModelPreset{"diloco-180m", "DiLoCo scaling laws, 180 M parameters", kScalingLawsSource,
                scaling_laws(12, 16, 1024)},
    ModelPreset{"diloco-330m", "DiLoCo scaling laws, 330 M parameters", kScalingLawsSource,
                scaling_laws(15, 20, 1280)},
    ModelPreset{"diloco-550m", "DiLoCo scaling laws, 550 M parameters", kScalingLawsSource,
                scaling_laws(18, 24, 1536)},
    ModelPreset{"diloco-60m", "DiLoCo, 60 M parameters", kDilocoSource, diloco(3, 16, 896, 64)},
    ModelPreset{"diloco-150m", "DiLoCo, 150 M parameters", kDilocoSource, diloco(12, 16, 896, 64)},
    ModelPreset{"diloco-400m", "DiLoCo, 400 M parameters", kDilocoSource, diloco(12, 12, 1536, 128)},
};

}  // namespace

Status validate(const ModelConfig& config) {
    if (config.family != "gpt2" && config.family != "llama") {
        return wrong("family", '"' + config.family + '"', "gpt2 or llama");
    }
    const std::string& rules = config.parameterization;
    if (rules != "standard" && rules != "mup" && rules != "completep") {
        return wrong("parameterization", '"' + rules + '"', "standard, mup or completep");
    }
    for (const IntegerLimit& limit : kIntegerLimits) {
        const std::int64_t value = config.*limit.value;
        if (value < limit.low || value > limit.high) {
            return wrong(limit.field, std::to_string(value), fmt::format("{} to {}", limit.low, limit.high));
        }
        if (value % limit.multiple != 0) {
            return wrong(limit.field, std::to_string(value), fmt::format("a multiple of {}", limit.multiple));
        }
    }
    if (config.heads % config.kv_heads != 0) {
        return wrong("kv_heads", std::to_string(config.kv_heads),
                     fmt::format("a divisor of heads ({})", config.heads));
    }
    // Written so that NaN fails.
    if (!(config.norm_epsilon > 0 && config.norm_epsilon < 1)) {
        return wrong("norm_epsilon", fmt::format("{}", config.norm_epsilon), "more than 0, less than 1");
    }
    if (!(config.rope_theta > 1 && config.rope_theta < 1e12)) {
        return wrong("rope_theta", fmt::format("{}", config.rope_theta), "more than 1, less than 1e12");
    }
    if (!(config.init_std > 0 && config.init_std <= 1)) {
        return wrong("init_std", fmt::format("{}", config.init_std), "more than 0, at most 1");
    }
    return config.family == "gpt2" ? validate_gpt2(config) : Status{};
}

std::span<const ModelPreset> model_presets() { return kPresets; }

Result<ModelConfig> model_preset(std::string_view name) {
    std::vector<std::string> names;
    for (const ModelPreset& preset : kPresets) {
        if (preset.name == name) return preset.config;
        names.emplace_back(preset.name);
    }
    std::string known;
    for (const std::string& candidate : names) known += (known.empty() ? "" : ", ") + candidate;
    const std::string guess = nearest(name, names);
    return Error{ErrorCode::invalid,
                 fmt::format("no model preset \"{}\"{}; there are: {}", name,
                             guess.empty() ? "" : fmt::format(" (did you mean {}?)", guess), known)};
}

}  // namespace Atoll::model

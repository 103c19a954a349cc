// Small models with parameters that tell where they stand, for the tests of file formats.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "kernels/flat.h"
#include "model/architecture.h"
#include "model/config.h"

namespace Atoll::tests {

struct SmallModel {
    model::ModelConfig config;
    kernels::Layout layout;
    std::vector<float> parameters;

    explicit SmallModel(const model::ModelConfig& shape)
        : config(shape), layout(model::make_layout(shape)), parameters(layout.size()) {
        Rng rng(21);
        for (const auto& slot : layout.slots()) {
            for (std::size_t i = 0; i < slot.size; ++i)
                parameters[slot.offset + i] = static_cast<float>(rng.normal());
        }
    }
    [[nodiscard]] std::span<const float> values(std::string_view name) const {
        const auto* slot = layout.find(name);
        return std::span(parameters).subspan(slot->offset, slot->size);
    }
};

inline model::ModelConfig small_gpt2() {
    return {.vocabulary = 70,
            .context = 8,
            .layers = 2,
            .heads = 2,
            .kv_heads = 2,
            .width = 32,
            .inner = 128,
            .head_dim = 16};
}

inline model::ModelConfig small_llama() {
    return {.family = "llama",
            .vocabulary = 70,
            .context = 8,
            .layers = 2,
            .heads = 4,
            .kv_heads = 2,
            .width = 32,
            .inner = 48,
            .head_dim = 8,
            .tied_head = false,
            .norm_epsilon = 1e-6,
            .rope_theta = 500000.0};
}

}  // namespace Atoll::tests

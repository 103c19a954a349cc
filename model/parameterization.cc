#include "model/parameterization.h"

#include <cmath>

#include "base/check.h"
#include "model/weights.h"

namespace Atoll::model {

namespace {

enum class Part { table, hidden, block_norm, final_norm };

Part part_of(const kernels::TensorSlot& slot) {
    const auto ends = [&](const char* suffix) { return slot.name.ends_with(suffix); };
    if (is_token_table(slot)) return Part::table;
    if (slot.name.starts_with("transformer.ln_f.") || slot.name == "model.norm.weight")
        return Part::final_norm;
    if (slot.shape.size() == 2) return Part::hidden;
    const bool norm =
        ends("norm.weight") || slot.name.find(".ln_") != std::string::npos || ends("layernorm.weight");
    return norm ? Part::block_norm : Part::hidden;  // the rest are biases
}

}  // namespace

std::vector<TensorScale> tensor_scales(const ModelConfig& config, const kernels::Layout& layout) {
    const bool standard = config.parameterization == "standard";
    const bool deep = config.parameterization == "completep";
    ATOLL_CHECK(standard || deep || config.parameterization == "mup");
    const double width =
        standard ? 1 : static_cast<double>(config.width) / static_cast<double>(config.base_width);
    const double depth =
        deep ? static_cast<double>(config.layers) / static_cast<double>(config.base_layers) : 1;
    const auto initial_layers = static_cast<double>(standard ? config.layers : config.base_layers);

    std::vector<TensorScale> scales;
    for (const kernels::TensorSlot& slot : layout.slots()) {
        const Part part = part_of(slot);
        const bool in_block = part == Part::hidden || part == Part::block_norm;
        const bool matrix = slot.shape.size() == 2;
        TensorScale scale;
        scale.epsilon = in_block ? 1 / (width * depth) : 1 / width;
        if (part == Part::hidden && matrix) {
            scale.init = 1 / std::sqrt(width);
            scale.rate = 1 / width;
        }
        if (matrix && writes_to_residual(slot)) scale.init *= 1 / std::sqrt(2.0 * initial_layers);
        const double multiplier = writes_to_residual(slot)   ? 1 / depth
                                  : part == Part::final_norm ? 1 / width
                                                             : 1;
        scale.init *= multiplier;
        scale.rate *= multiplier;
        scale.epsilon /= multiplier;
        scale.gradient = multiplier;
        scales.push_back(scale);
    }
    return scales;
}

}  // namespace Atoll::model

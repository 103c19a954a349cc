#include "model/grow.h"

#include <fmt/core.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "model/architecture.h"
#include "model/weights.h"

namespace Atoll::model {

namespace {

// How one tensor of the large model is made of one of the small model's.
struct Tiling {
    const kernels::TensorSlot* from = nullptr;
    const kernels::TensorSlot* to = nullptr;
    std::int64_t parts = 1;  // matrices below each other in one tensor (GPT-2's q, k, v), tiled one by one
    std::int64_t rows = 1, columns = 1;  // copies
    double value = 1;                    // what a copy is multiplied with
    double gradient = 1;                 // its gradient, of the small model's
    std::int64_t noise_rows =
        0;                // noise is scaled for so many rows at a time: a head's, or a copy's; 0: none
    bool silent = false;  // zero at first: the block computes the identity
};

// Copies of the stream (width), of the MLP's hidden vector, of blocks.
struct Factors {
    std::int64_t width, inner, layers;
};

bool contains(const std::string& name, const char* part) { return name.find(part) != std::string::npos; }

Factors factors(const ModelConfig& from, const ModelConfig& to) {
    return {to.width / from.width, to.inner / from.inner, to.layers / from.layers};
}

// "model.layers.7.mlp" of the large model comes from block 7 / factor of the small one.
struct Origin {
    std::string name;
    bool copy = false;  // one of the added blocks
};

Origin origin(const std::string& name, std::int64_t factor) {
    for (const std::string prefix : {"transformer.h.", "model.layers."}) {
        if (!name.starts_with(prefix)) continue;
        const std::size_t end = name.find('.', prefix.size());
        const std::int64_t block = std::stoll(name.substr(prefix.size(), end - prefix.size()));
        return {prefix + std::to_string(block / factor) + name.substr(end), block % factor != 0};
    }
    return {name};
}

void describe_matrix(Tiling& tiling, const ModelConfig& config, const Factors& by) {
    const std::string& name = tiling.to->name;
    if (is_token_table(*tiling.to)) {
        const bool head = contains(name, "lm_head");
        tiling.columns = by.width;
        tiling.value = head ? 1 / static_cast<double>(by.width) : 1;
        tiling.gradient = head ? 1 : 1 / static_cast<double>(by.width);
        return;
    }
    const bool enters_mlp =
        contains(name, "c_fc") || contains(name, "gate_proj") || contains(name, "up_proj");
    const bool leaves_mlp = contains(name, "mlp.c_proj") || contains(name, "down_proj");
    const bool heads = contains(name, "c_attn") || contains(name, "q_proj") || contains(name, "k_proj") ||
                       contains(name, "v_proj");
    tiling.parts = contains(name, "c_attn") ? 3 : 1;
    tiling.rows = enters_mlp ? by.inner : by.width;
    tiling.columns = leaves_mlp ? by.inner : by.width;
    tiling.value = 1 / static_cast<double>(tiling.columns);
    tiling.gradient = 1 / static_cast<double>(tiling.rows);
    tiling.noise_rows = heads ? config.head_dim : tiling.from->shape[0];
}

// A vector with P parts is a matrix of P rows.
void describe_vector(Tiling& tiling, const ModelConfig& config, const Factors& by) {
    const std::string& name = tiling.to->name;
    if (contains(name, "q_norm") || contains(name, "k_norm")) return;  // of one head: all heads share it
    tiling.parts = contains(name, "c_attn") ? 3 : 1;
    tiling.columns = contains(name, "c_fc") ? by.inner : by.width;
    const bool final_norm = contains(name, "ln_f") || name == "model.norm.weight";
    const bool divided = final_norm && config.tied_head;
    tiling.value = divided ? 1 / static_cast<double>(by.width) : 1;
    tiling.gradient = divided ? 1 : 1 / static_cast<double>(tiling.columns);
}

std::vector<Tiling> tilings(const ModelConfig& from, const ModelConfig& to, const kernels::Layout& small,
                            const kernels::Layout& large) {
    const Factors by = factors(from, to);
    std::vector<Tiling> result;
    for (const kernels::TensorSlot& slot : large.slots()) {
        const Origin source = origin(slot.name, by.layers);
        Tiling tiling{.from = small.find(source.name), .to = &slot};
        ATOLL_CHECK(tiling.from != nullptr);
        tiling.silent = source.copy && writes_to_residual(slot);
        if (slot.shape.size() == 2) describe_matrix(tiling, from, by);
        if (slot.shape.size() == 1) describe_vector(tiling, from, by);
        result.push_back(tiling);
    }
    return result;
}

struct Extent {
    std::size_t rows, columns;  // of one part of the small tensor
};

Extent extent(const Tiling& tiling) {
    const bool matrix = tiling.from->shape.size() == 2;
    const auto columns =
        static_cast<std::size_t>(matrix ? tiling.from->shape[1] : tiling.from->shape[0] / tiling.parts);
    return {tiling.from->size / columns / static_cast<std::size_t>(tiling.parts), columns};
}

template <typename Float>
void tile(const Tiling& tiling, double value, std::span<const Float> small, std::span<Float> large) {
    const Extent size = extent(tiling);
    const Float* const from = small.data() + tiling.from->offset;
    Float* to = large.data() + tiling.to->offset;
    for (std::int64_t part = 0; part < tiling.parts; ++part) {
        for (std::int64_t copy = 0; copy < tiling.rows; ++copy) {
            for (std::size_t row = 0; row < size.rows; ++row) {
                const Float* const line =
                    from + (static_cast<std::size_t>(part) * size.rows + row) * size.columns;
                for (std::int64_t column = 0; column < tiling.columns; ++column) {
                    for (std::size_t i = 0; i < size.columns; ++i)
                        *to++ = static_cast<Float>(value * static_cast<double>(line[i]));
                }
            }
        }
    }
}

// Pairs of column copies, `noise_rows` rows at a time: + N on one, - N on the other, N drawn afresh
// (section 3.4).
template <typename Float>
void add_noise(const Tiling& tiling, const Growth& growth, std::span<Float> large) {
    const auto slab = static_cast<std::size_t>(tiling.noise_rows);
    const std::size_t columns = extent(tiling).columns;
    const std::size_t stride = columns * static_cast<std::size_t>(tiling.columns);
    Rng rng = Rng(growth.seed).split("hypercloning").split(tiling.to->name);
    std::vector<double> noise(slab * columns);
    for (std::size_t row = 0; row < tiling.to->size / stride; row += slab) {
        Float* const lines = large.data() + tiling.to->offset + row * stride;
        double signal = 0;
        for (std::size_t r = 0; r < slab; ++r) {
            for (std::size_t i = 0; i < columns; ++i) {
                const auto value = static_cast<double>(lines[r * stride + i]);
                signal += value * value;
            }
        }
        for (std::int64_t pair = 0; pair + 1 < tiling.columns; pair += 2) {
            double power = 0;
            for (double& value : noise) {
                value = rng.normal();
                power += value * value;
            }
            const double scale = std::sqrt(signal / power / std::pow(10, growth.noise_db / 10));
            Float* const left = lines + static_cast<std::size_t>(pair) * columns;
            for (std::size_t r = 0; r < slab; ++r) {
                for (std::size_t i = 0; i < columns; ++i) {
                    const auto step = static_cast<Float>(scale * noise[r * columns + i]);
                    left[r * stride + i] += step;
                    left[r * stride + columns + i] -= step;
                }
            }
        }
    }
}

Result<std::int64_t> multiple(const char* flag, std::int64_t wanted, const char* what, std::int64_t present) {
    if (wanted == 0) return present;
    if (wanted >= present && wanted % present == 0) return wanted;
    return Error{ErrorCode::invalid, fmt::format("{} {}: expected a multiple of the model's {} ({})", flag,
                                                 wanted, what, present)};
}

}  // namespace

Result<ModelConfig> grown_config(const ModelConfig& from, const Growth& growth) {
    ATOLL_TRY(validate(from));
    ModelConfig to = from;
    ATOLL_ASSIGN(to.width, multiple("--width", growth.width, "width", from.width));
    ATOLL_ASSIGN(to.layers, multiple("--depth", growth.layers, "layers", from.layers));
    const std::int64_t copies = to.width / from.width;
    to.inner = from.inner * copies;
    if (growth.inner > 0) {
        ATOLL_ASSIGN(to.inner, multiple("--inner", growth.inner, "inner width", from.inner));
    }
    to.heads = from.heads * copies;
    to.kv_heads = from.kv_heads * copies;
    if (to.width == from.width && to.layers == from.layers && to.inner == from.inner) {
        return Error{ErrorCode::invalid,
                     fmt::format("nothing to grow: the model has width {} and depth {} already; expected a "
                                 "multiple of one of them",
                                 from.width, from.layers)};
    }
    if (std::isnan(growth.noise_db)) {
        return Error{ErrorCode::invalid,
                     "--noise-db nan: expected a number of decibels, or inf for no noise"};
    }
    ATOLL_TRY(validate(to));
    return to;
}

template <typename Float>
void grow_parameters(const ModelConfig& from, const ModelConfig& to, const Growth& growth,
                     std::span<const Float> small, std::span<Float> large) {
    const kernels::Layout small_layout = make_layout(from);
    const kernels::Layout large_layout = make_layout(to);
    ATOLL_CHECK(small.size() == small_layout.size() && large.size() == large_layout.size());
    for (const Tiling& tiling : tilings(from, to, small_layout, large_layout)) {
        tile(tiling, tiling.silent ? 0 : tiling.value, small, large);
        if (tiling.noise_rows > 0 && !tiling.silent && std::isfinite(growth.noise_db))
            add_noise(tiling, growth, large);
    }
}

template void grow_parameters<float>(const ModelConfig&, const ModelConfig&, const Growth&,
                                     std::span<const float>, std::span<float>);
template void grow_parameters<double>(const ModelConfig&, const ModelConfig&, const Growth&,
                                      std::span<const double>, std::span<double>);

void grow_moment(const ModelConfig& from, const ModelConfig& to, Moment moment, std::span<const float> small,
                 std::span<float> large) {
    const kernels::Layout small_layout = make_layout(from);
    const kernels::Layout large_layout = make_layout(to);
    ATOLL_CHECK(small.size() == small_layout.size() && large.size() == large_layout.size());
    const std::int64_t layers = factors(from, to).layers;
    for (const Tiling& tiling : tilings(from, to, small_layout, large_layout)) {
        double scale = tiling.gradient;
        if (moment == Moment::second) scale *= tiling.gradient;
        if (moment == Moment::first && origin(tiling.to->name, layers).copy) scale = 0;
        tile(tiling, scale, small, large);
    }
}

}  // namespace Atoll::model

#include "model/activations.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace Atoll::model {

namespace {

// Rows of different buffers start on cache lines.
std::size_t padded(std::size_t floats) { return (floats + 15) / 16 * 16; }

std::vector<float> rope_frequencies_of(const ModelConfig& config) {
    std::vector<float> frequencies;
    for (std::int64_t i = 0; i < config.head_dim / 2; ++i) {
        const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
        frequencies.push_back(static_cast<float>(std::pow(config.rope_theta, exponent)));
    }
    return frequencies;
}

}  // namespace

Activations::Activations(kernels::Ops& ops, const ModelConfig& config, std::int64_t rows_max, Keep keep)
    : width_q_(static_cast<std::size_t>(config.heads * config.head_dim)),
      width_kv_(static_cast<std::size_t>(config.kv_heads * config.head_dim)),
      rows_(static_cast<std::size_t>(rows_max)),
      apart_(config.qk_norm) {
    const bool llama = config.family == "llama";
    const auto width = static_cast<std::size_t>(config.width);
    const auto inner = static_cast<std::size_t>(config.inner);
    const std::size_t hidden_width = llama ? 2 * inner : inner;
    const auto blocks = static_cast<std::size_t>(config.layers);

    std::size_t end = 0;
    const auto take = [&](std::size_t row_floats) {
        const std::size_t base = end;
        end += padded(rows_ * row_floats);
        return base;
    };
    const auto per_block = [&](std::size_t row_floats, bool kept) {
        const std::size_t one = padded(rows_ * row_floats);
        const PerBlock buffer{.base = end, .stride = kept ? one : 0, .present = true};
        end += kept ? blocks * one : one;
        return buffer;
    };
    const bool backward = keep != Keep::nothing;
    const bool cheap_too = keep == Keep::everything;
    stream_ = per_block(width, backward);
    if (!llama) attention_mean_ = per_block(1, backward);
    attention_rstd_ = per_block(1, backward);
    attention_input_ = per_block(width, cheap_too);
    raw_ = per_block(width_q_ + 2 * width_kv_, backward);
    if (apart_) {
        q_rstd_ = per_block(static_cast<std::size_t>(config.heads), backward);
        k_rstd_ = per_block(static_cast<std::size_t>(config.kv_heads), backward);
        q_ = per_block(width_q_, backward);
        k_ = per_block(width_kv_, backward);
    }
    lse_ = per_block(static_cast<std::size_t>(config.heads), backward);
    attended_ = per_block(width_q_, backward);
    middle_ = per_block(width, backward);
    if (!llama) mlp_mean_ = per_block(1, backward);
    mlp_rstd_ = per_block(1, backward);
    mlp_input_ = per_block(width, cheap_too);
    mlp_hidden_ = per_block(hidden_width, backward);
    mlp_active_ = per_block(inner, cheap_too);

    const std::size_t final_stream_base = take(width);
    const std::size_t final_mean_base = take(1);
    const std::size_t final_rstd_base = take(1);
    const std::size_t hidden_base = take(width);
    const std::size_t losses_base = take(1);
    const std::size_t branch_base = take(width);
    const std::size_t stream_gradient_base = backward ? take(width) : 0;
    const std::size_t inner_gradient_base = backward ? take(std::max(inner, width_q_)) : 0;
    const std::size_t wide_gradient_base =
        backward ? take(std::max(hidden_width, width_q_ + 2 * width_kv_)) : 0;
    const std::size_t frequencies_base = end;
    const std::vector<float> frequencies = rope_frequencies_of(config);
    end += padded(frequencies.size());

    floats_ = end;
    arena_ = ops.allocate(floats_);
    const auto point = [&](std::size_t base) { return arena_.get() + base; };
    final_stream = point(final_stream_base);
    final_mean = point(final_mean_base);
    final_rstd = point(final_rstd_base);
    hidden = point(hidden_base);
    losses = point(losses_base);
    branch = point(branch_base);
    if (backward) {
        stream_gradient = point(stream_gradient_base);
        inner_gradient = point(inner_gradient_base);
        wide_gradient = point(wide_gradient_base);
    }
    rope_frequencies = point(frequencies_base);
    ops.copy_to_device(rope_frequencies, frequencies);
}

float* Activations::at(const PerBlock& buffer, std::int64_t block) const {
    return buffer.present ? arena_.get() + buffer.base + static_cast<std::size_t>(block) * buffer.stride
                          : nullptr;
}

Heads Activations::heads_in(float* base) const {
    const auto q_width = static_cast<kernels::Index>(width_q_);
    const auto kv_width = static_cast<kernels::Index>(width_kv_);
    if (apart_) {
        return {base,    base + rows_ * width_q_, base + rows_ * (width_q_ + width_kv_), q_width, kv_width,
                kv_width};
    }
    const kernels::Index stride = q_width + 2 * kv_width;
    return {base, base + q_width, base + q_width + kv_width, stride, stride, stride};
}

Heads Activations::head_gradients() const { return heads_in(wide_gradient); }

BlockActivations Activations::block(std::int64_t index) const {
    BlockActivations a;
    a.stream = at(stream_, index);
    a.attention_mean = at(attention_mean_, index);
    a.attention_rstd = at(attention_rstd_, index);
    a.attention_input = at(attention_input_, index);
    a.raw = heads_in(at(raw_, index));
    a.q_rstd = at(q_rstd_, index);
    a.k_rstd = at(k_rstd_, index);
    a.heads = a.raw;
    if (apart_) {
        a.heads.q = at(q_, index);
        a.heads.k = at(k_, index);
    }
    a.lse = at(lse_, index);
    a.attended = at(attended_, index);
    a.middle = at(middle_, index);
    a.mlp_mean = at(mlp_mean_, index);
    a.mlp_rstd = at(mlp_rstd_, index);
    a.mlp_input = at(mlp_input_, index);
    a.mlp_hidden = at(mlp_hidden_, index);
    a.mlp_active = at(mlp_active_, index);
    return a;
}

}  // namespace Atoll::model

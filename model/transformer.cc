#include "model/transformer.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/architecture.h"

namespace Atoll::model {

using kernels::Index;

namespace {

// The gradients of embeddings, heads, norms and biases come from several places or from operations that add.
bool is_added_to(const kernels::TensorSlot& slot, const Weights& weights) {
    const Role role(slot.offset);
    return slot.shape.size() == 1 || role == weights.token_embedding || role == weights.position_embedding ||
           role == weights.head;
}

}  // namespace

Transformer::Transformer(kernels::Ops& ops, const ModelConfig& config, const TransformerOptions& options)
    : ops_(ops),
      config_(config),
      options_(options),
      layout_(make_layout(config)),
      weights_(locate_weights(config, layout_)),
      activations_(ops, config, options.rows_max, options.keep),
      llama_(config.family == "llama"),
      q_width_(config.heads * config.head_dim),
      kv_width_(config.kv_heads * config.head_dim),
      hidden_width_(llama_ ? 2 * config.inner : config.inner) {
    const std::span<const kernels::TensorSlot> slots = layout_.slots();
    for (std::size_t begin = 0; begin < slots.size(); ++begin) {
        std::size_t end = begin;
        while (end < slots.size() && is_added_to(slots[end], weights_)) ++end;
        if (end > begin) added_gradients_.push_back(slots.subspan(begin, end - begin));
        begin = std::max(begin, end);
    }
}

void Transformer::initialize(std::span<float> parameters, const Rng& rng) const {
    ATOLL_CHECK(parameters.size() == layout_.size());
    std::fill(parameters.begin(), parameters.end(), 0.0F);
    const std::vector<TensorScale> scales = tensor_scales(config_, layout_);
    for (std::size_t i = 0; i < scales.size(); ++i) {
        const kernels::TensorSlot& slot = layout_.slots()[i];
        const std::span<float> tensor = parameters.subspan(slot.offset, slot.size);
        if (slot.shape.size() == 1) {
            const auto gain = static_cast<float>(scales[i].init);
            std::fill(tensor.begin(), tensor.end(), slot.name.ends_with("bias") ? 0.0F : gain);
            continue;
        }
        Rng stream = rng.split(slot.name);
        for (float& value : tensor)
            value = static_cast<float>(stream.normal() * config_.init_std * scales[i].init);
    }
}

double Transformer::forward(std::span<const float> parameters, const TokenBatch& batch) {
    ATOLL_CHECK(parameters.size() == layout_.size());
    const Pass pass{.parameters = parameters.data(),
                    .tokens = batch.inputs.data(),
                    .batch = batch.batch,
                    .sequence = batch.sequence};
    forward_blocks(pass);
    return head(pass, batch.targets, 0, 1);
}

double Transformer::forward_backward(std::span<const float> parameters, std::span<float> gradients,
                                     const TokenBatch& batch, double scale, Accumulate accumulate) {
    ATOLL_CHECK(parameters.size() == layout_.size() && gradients.size() == layout_.size());
    ATOLL_CHECK(options_.keep != Keep::nothing);
    const Pass pass{.parameters = parameters.data(),
                    .gradients = gradients.data(),
                    .tokens = batch.inputs.data(),
                    .batch = batch.batch,
                    .sequence = batch.sequence,
                    .overwrite = accumulate == Accumulate::no};
    if (pass.overwrite) {
        for (const auto run : added_gradients_) {
            const std::size_t end = run.back().offset + run.back().size;
            ops_.fill(gradients.data() + run.front().offset, 0, end - run.front().offset);
        }
    }
    forward_blocks(pass);
    const double loss = head(pass, batch.targets, options_.z_loss, scale);
    backward_blocks(pass);
    return loss;
}

void Transformer::advance(std::span<const float> parameters, std::span<const std::int32_t> tokens,
                          KvCache& cache, float* logits) {
    const auto count = static_cast<Index>(tokens.size());
    ATOLL_CHECK(parameters.size() == layout_.size() && count > 0 && (count == 1 || cache.length == 0));
    ATOLL_CHECK(cache.length + count <= std::min(cache.length_max, config_.context));
    const Pass pass{.parameters = parameters.data(),
                    .tokens = tokens.data(),
                    .batch = 1,
                    .sequence = count,
                    .cache = &cache};
    forward_blocks(pass);
    cache.length += count;
    ops_.matmul({.a = activations_.hidden + (count - 1) * config_.width,
                 .b = weights_.head.in(parameters.data()),
                 .c = logits,
                 .m = 1,
                 .n = config_.vocabulary,
                 .k = config_.width,
                 .transpose_b = true,
                 .precision = options_.precision,
                 .b_is_weight = true});
}

void Transformer::forward_blocks(const Pass& pass) {
    ATOLL_CHECK(pass.rows() > 0 && pass.rows() <= options_.rows_max);
    ATOLL_CHECK(pass.position() + pass.sequence <= config_.context);
    const float* positions = weights_.position_embedding.in(pass.parameters);
    if (positions != nullptr) positions += pass.position() * config_.width;
    ops_.embedding_forward(pass.tokens, weights_.token_embedding.in(pass.parameters), positions,
                           activations_.block(0).stream, pass.batch, pass.sequence, config_.width);
    // A branch's output joins the residual stream inside the next norm: one pass over memory instead of two.
    const float* middle = nullptr;
    for (std::int64_t i = 0; i < config_.layers; ++i) {
        const BlockWeights& w = weights_.blocks[static_cast<std::size_t>(i)];
        const BlockActivations a = activations_.block(i);
        norm_forward(pass, w.attention_norm, i == 0 ? a.stream : activations_.branch, middle, a.stream,
                     a.attention_input, a.attention_mean, a.attention_rstd);
        attention_forward(pass, w, a, i);
        norm_forward(pass, w.mlp_norm, activations_.branch, a.stream, a.middle, a.mlp_input, a.mlp_mean,
                     a.mlp_rstd);
        mlp_forward(pass, w, a);
        middle = a.middle;
    }
    norm_forward(pass, weights_.final_norm, activations_.branch, middle, activations_.final_stream,
                 activations_.hidden, activations_.final_mean, activations_.final_rstd);
}

void Transformer::attention_forward(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                                    std::int64_t block) {
    const float* weight = w.qkv.weight.in(pass.parameters);
    const float* bias = w.qkv.bias.in(pass.parameters);
    const Index width = config_.width;
    if (config_.qk_norm) {
        const Index rows = pass.rows();
        linear_forward(pass, weight, nullptr, a.attention_input, a.raw.q, width, q_width_);
        linear_forward(pass, weight + q_width_ * width, nullptr, a.attention_input, a.raw.k, width,
                       kv_width_);
        linear_forward(pass, weight + (q_width_ + kv_width_) * width, nullptr, a.attention_input, a.raw.v,
                       width, kv_width_);
        const auto epsilon = static_cast<float>(config_.norm_epsilon);
        ops_.rmsnorm_forward(a.raw.q, nullptr, nullptr, w.q_norm.in(pass.parameters), a.heads.q, a.q_rstd,
                             rows * config_.heads, config_.head_dim, epsilon);
        ops_.rmsnorm_forward(a.raw.k, nullptr, nullptr, w.k_norm.in(pass.parameters), a.heads.k, a.k_rstd,
                             rows * config_.kv_heads, config_.head_dim, epsilon);
    } else {
        linear_forward(pass, weight, bias, a.attention_input, a.raw.q, width, q_width_ + 2 * kv_width_);
    }
    if (llama_) {
        rope(pass, a.heads.q, config_.heads, a.heads.q_stride, false);
        rope(pass, a.heads.k, config_.kv_heads, a.heads.k_stride, false);
    }
    if (pass.cache != nullptr) attend_cached(pass, a.heads, a.attended, block);
    if (pass.cache == nullptr || pass.sequence > 1) ops_.attention_forward(attention_call(pass, a));
    linear_forward(pass, w.attention_out.weight.in(pass.parameters), w.attention_out.bias.in(pass.parameters),
                   a.attended, activations_.branch, q_width_, width);
}

void Transformer::attend_cached(const Pass& pass, const Heads& heads, float* attended, std::int64_t block) {
    const KvCache& cache = *pass.cache;
    float* keys = cache.keys + block * cache.length_max * kv_width_;
    float* values = cache.values + block * cache.length_max * kv_width_;
    // The cache is zero where nothing was stored: adding is copying, on any device.
    for (Index t = 0; t < pass.sequence; ++t) {
        const Index row = (cache.length + t) * kv_width_;
        ops_.axpy(1, heads.k + t * heads.k_stride, keys + row, static_cast<std::size_t>(kv_width_));
        ops_.axpy(1, heads.v + t * heads.v_stride, values + row, static_cast<std::size_t>(kv_width_));
    }
    if (pass.sequence > 1) return;
    ops_.attention_decode({.q = heads.q,
                           .k_cache = keys,
                           .v_cache = values,
                           .out = attended,
                           .batch = 1,
                           .length = cache.length + 1,
                           .length_max = cache.length_max,
                           .heads = config_.heads,
                           .kv_heads = config_.kv_heads,
                           .head_dim = config_.head_dim,
                           .scale = 1 / std::sqrt(static_cast<float>(config_.head_dim))});
}

void Transformer::mlp_forward(const Pass& pass, const BlockWeights& w, const BlockActivations& a) {
    linear_forward(pass, w.mlp_in.weight.in(pass.parameters), w.mlp_in.bias.in(pass.parameters), a.mlp_input,
                   a.mlp_hidden, config_.width, hidden_width_);
    activate(pass, a);
    linear_forward(pass, w.mlp_out.weight.in(pass.parameters), w.mlp_out.bias.in(pass.parameters),
                   a.mlp_active, activations_.branch, config_.inner, config_.width);
}

void Transformer::activate(const Pass& pass, const BlockActivations& a) {
    if (llama_) {
        ops_.swiglu_forward(a.mlp_hidden, a.mlp_active, pass.rows(), config_.inner);
    } else {
        ops_.gelu_forward(a.mlp_hidden, a.mlp_active, static_cast<std::size_t>(pass.rows() * config_.inner));
    }
}

double Transformer::head(const Pass& pass, const std::vector<std::int32_t>& targets, double z_loss,
                         double scale) {
    ATOLL_CHECK(static_cast<Index>(targets.size()) >= pass.rows());
    const auto counted = pass.rows() - std::count(targets.begin(), targets.begin() + pass.rows(), -1);
    const double share = counted > 0 ? 1 / static_cast<double>(counted) : 0;
    const bool backward = pass.gradients != nullptr;
    ops_.head_loss({.hidden = activations_.hidden,
                    .head = weights_.head.in(pass.parameters),
                    .targets = targets.data(),
                    .losses = activations_.losses,
                    .d_hidden = backward ? activations_.branch : nullptr,
                    .d_head = backward ? weights_.head.in(pass.gradients) : nullptr,
                    .loss_scale = static_cast<float>(scale * share),
                    .z_loss = static_cast<float>(z_loss),
                    .rows = pass.rows(),
                    .channels = config_.width,
                    .vocabulary = config_.vocabulary,
                    .precision = options_.precision});
    return ops_.sum(activations_.losses, static_cast<std::size_t>(pass.rows())) * share;
}

void Transformer::backward_blocks(const Pass& pass) {
    norm_backward(pass, weights_.final_norm, activations_.final_stream, activations_.final_mean,
                  activations_.final_rstd, false);
    for (std::int64_t i = config_.layers - 1; i >= 0; --i) {
        const BlockWeights& w = weights_.blocks[static_cast<std::size_t>(i)];
        const BlockActivations a = activations_.block(i);
        mlp_backward(pass, w, a);
        attention_backward(pass, w, a);
    }
    ops_.embedding_backward(
        pass.tokens, activations_.stream_gradient, weights_.token_embedding.in(pass.gradients),
        weights_.position_embedding.in(pass.gradients), pass.batch, pass.sequence, config_.width);
}

void Transformer::mlp_backward(const Pass& pass, const BlockWeights& w, const BlockActivations& a) {
    if (options_.keep == Keep::expensive) {
        norm_forward(pass, w.mlp_norm, a.middle, nullptr, nullptr, a.mlp_input, a.mlp_mean, a.mlp_rstd);
        activate(pass, a);
    }
    float* d_active = activations_.inner_gradient;
    linear_backward(pass, w.mlp_out, 0, a.mlp_active, activations_.stream_gradient, d_active, config_.inner,
                    config_.width);
    float* d_hidden = llama_ ? activations_.wide_gradient : d_active;
    if (llama_) {
        ops_.swiglu_backward(a.mlp_hidden, d_active, d_hidden, pass.rows(), config_.inner);
    } else {
        ops_.gelu_backward(a.mlp_hidden, d_active, d_hidden,
                           static_cast<std::size_t>(pass.rows() * config_.inner));
    }
    linear_backward(pass, w.mlp_in, 0, a.mlp_input, d_hidden, activations_.branch, config_.width,
                    hidden_width_);
    norm_backward(pass, w.mlp_norm, a.middle, a.mlp_mean, a.mlp_rstd, true);
}

void Transformer::attention_backward(const Pass& pass, const BlockWeights& w, const BlockActivations& a) {
    if (options_.keep == Keep::expensive) {
        norm_forward(pass, w.attention_norm, a.stream, nullptr, nullptr, a.attention_input, a.attention_mean,
                     a.attention_rstd);
    }
    float* d_attended = activations_.inner_gradient;
    linear_backward(pass, w.attention_out, 0, a.attended, activations_.stream_gradient, d_attended, q_width_,
                    config_.width);
    const Heads d = activations_.head_gradients();
    ops_.attention_backward(
        {.forward = attention_call(pass, a), .d_out = d_attended, .d_q = d.q, .d_k = d.k, .d_v = d.v});
    if (llama_) {
        rope(pass, d.q, config_.heads, d.q_stride, true);
        rope(pass, d.k, config_.kv_heads, d.k_stride, true);
    }
    if (config_.qk_norm) {
        project_backward_apart(pass, w, a);
    } else {
        linear_backward(pass, w.qkv, 0, a.attention_input, d.q, activations_.branch, config_.width,
                        q_width_ + 2 * kv_width_);
    }
    norm_backward(pass, w.attention_norm, a.stream, a.attention_mean, a.attention_rstd, true);
}

// With QK-norm q, k and v are three products; the gradients of the raw q and k pass through the buffer of
// d_attended, which is free by now.
void Transformer::project_backward_apart(const Pass& pass, const BlockWeights& w, const BlockActivations& a) {
    const Heads d = activations_.head_gradients();
    float* d_raw = activations_.inner_gradient;
    const Index rows = pass.rows();
    const Index width = config_.width;
    ops_.rmsnorm_backward(a.raw.q, w.q_norm.in(pass.parameters), a.q_rstd, d.q, d_raw,
                          w.q_norm.in(pass.gradients), rows * config_.heads, config_.head_dim, false);
    linear_backward(pass, w.qkv, 0, a.attention_input, d_raw, activations_.branch, width, q_width_);
    ops_.rmsnorm_backward(a.raw.k, w.k_norm.in(pass.parameters), a.k_rstd, d.k, d_raw,
                          w.k_norm.in(pass.gradients), rows * config_.kv_heads, config_.head_dim, false);
    linear_backward(pass, w.qkv, q_width_, a.attention_input, d_raw, activations_.branch, width, kv_width_);
    linear_backward(pass, w.qkv, q_width_ + kv_width_, a.attention_input, d.v, activations_.branch, width,
                    kv_width_);
}

void Transformer::norm_forward(const Pass& pass, const Affine& norm, const float* x, const float* residual_in,
                               float* residual_out, float* y, float* mean, float* rstd) {
    const auto epsilon = static_cast<float>(config_.norm_epsilon);
    float* sum = residual_in != nullptr ? residual_out : nullptr;
    if (llama_) {
        ops_.rmsnorm_forward(x, residual_in, sum, norm.weight.in(pass.parameters), y, rstd, pass.rows(),
                             config_.width, epsilon);
    } else {
        ops_.layernorm_forward(x, residual_in, sum, norm.weight.in(pass.parameters),
                               norm.bias.in(pass.parameters), y, mean, rstd, pass.rows(), config_.width,
                               epsilon);
    }
}

void Transformer::norm_backward(const Pass& pass, const Affine& norm, const float* x, const float* mean,
                                const float* rstd, bool accumulate) {
    const float* weight = norm.weight.in(pass.parameters);
    float* d_weight = norm.weight.in(pass.gradients);
    if (llama_) {
        ops_.rmsnorm_backward(x, weight, rstd, activations_.branch, activations_.stream_gradient, d_weight,
                              pass.rows(), config_.width, accumulate);
    } else {
        ops_.layernorm_backward(x, weight, mean, rstd, activations_.branch, activations_.stream_gradient,
                                d_weight, norm.bias.in(pass.gradients), pass.rows(), config_.width,
                                accumulate);
    }
}

void Transformer::linear_forward(const Pass& pass, const float* weight, const float* bias, const float* x,
                                 float* y, Index in, Index out) {
    ops_.matmul({.a = x,
                 .b = weight,
                 .c = y,
                 .bias = bias,
                 .m = pass.rows(),
                 .n = out,
                 .k = in,
                 .transpose_b = true,
                 .precision = options_.precision,
                 .b_is_weight = true});
}

void Transformer::linear_backward(const Pass& pass, const Affine& linear, Index first_row, const float* x,
                                  const float* d_y, float* d_x, Index in, Index out) {
    const Index rows = pass.rows();
    ops_.matmul({.a = d_y,
                 .b = linear.weight.in(pass.parameters) + first_row * in,
                 .c = d_x,
                 .m = rows,
                 .n = in,
                 .k = out,
                 .accumulate = first_row > 0,
                 .precision = options_.precision,
                 .b_is_weight = true});
    ops_.matmul({.a = d_y,
                 .b = x,
                 .c = linear.weight.in(pass.gradients) + first_row * in,
                 .m = out,
                 .n = in,
                 .k = rows,
                 .transpose_a = true,
                 .accumulate = !pass.overwrite,
                 .precision = options_.precision});
    if (linear.bias.present()) ops_.bias_backward(d_y, linear.bias.in(pass.gradients), rows, out);
}

kernels::Attention Transformer::attention_call(const Pass& pass, const BlockActivations& a) const {
    return {.q = a.heads.q,
            .k = a.heads.k,
            .v = a.heads.v,
            .out = a.attended,
            .lse = a.lse,
            .batch = pass.batch,
            .sequence = pass.sequence,
            .heads = config_.heads,
            .kv_heads = config_.kv_heads,
            .head_dim = config_.head_dim,
            .q_stride = a.heads.q_stride,
            .k_stride = a.heads.k_stride,
            .v_stride = a.heads.v_stride,
            .scale = 1 / std::sqrt(static_cast<float>(config_.head_dim))};
}

void Transformer::rope(const Pass& pass, float* x, Index heads, Index stride, bool inverse) {
    ops_.rope(x, activations_.rope_frequencies, pass.batch, pass.sequence, heads, config_.head_dim, stride,
              pass.position(), inverse);
}

}  // namespace Atoll::model

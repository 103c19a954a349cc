// The activation arena: one allocation, sized from (config, batch, sequence), that holds whatever a step
// computes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/ops.h"
#include "model/config.h"

namespace Atoll::model {

// What stays in memory between the forward pass and the backward pass of a block.
enum class Keep {
    everything,  // fastest for small models
    expensive,   // normalised inputs and the MLP's activated values are computed again from what they came
                 // from: 10 instead of 16 values per token and channel (gpt2), for a little more time
    nothing,     // no backward pass: one block's worth of memory
};

// q, k and v of one block (or their gradients), each row `*_stride` floats after the previous token's. Fused:
// parts of one row; apart (QK-norm works on contiguous heads): three matrices.
struct Heads {
    float* q = nullptr;
    float* k = nullptr;
    float* v = nullptr;
    kernels::Index q_stride = 0, k_stride = 0, v_stride = 0;
};

// N rows = batch * sequence, C width, I inner, H heads, K key/value heads, D head dimension.
struct BlockActivations {
    float* stream = nullptr;           // [N,C] residual stream at the block's entrance
    float* attention_mean = nullptr;   // [N] (LayerNorm only)
    float* attention_rstd = nullptr;   // [N]
    float* attention_input = nullptr;  // [N,C] normalised stream
    Heads raw;                         // as projected; the same as `heads` without QK-norm
    float* q_rstd = nullptr;           // [N,H] (QK-norm only)
    float* k_rstd = nullptr;           // [N,K]
    Heads heads;                       // as attention sees them
    float* lse = nullptr;              // [B,H,T]
    float* attended = nullptr;         // [N,H*D]
    float* middle = nullptr;           // [N,C] residual stream between attention and MLP
    float* mlp_mean = nullptr;
    float* mlp_rstd = nullptr;
    float* mlp_input = nullptr;   // [N,C]
    float* mlp_hidden = nullptr;  // [N,I], or gate and up [N,2I]
    float* mlp_active = nullptr;  // [N,I]
};

class Activations {
  public:
    Activations(kernels::Ops& ops, const ModelConfig& config, std::int64_t rows_max, Keep keep);

    [[nodiscard]] BlockActivations block(std::int64_t index) const;
    // Gradients of q, k and v live in `wide_gradient`.
    [[nodiscard]] Heads head_gradients() const;
    [[nodiscard]] std::size_t bytes() const { return floats_ * sizeof(float); }

    float* final_stream = nullptr;  // [N,C] residual stream after the last block
    float* final_mean = nullptr;
    float* final_rstd = nullptr;
    float* hidden = nullptr;  // [N,C] normalised final stream: the head's input
    float* losses = nullptr;  // [N]
    float* branch =
        nullptr;  // [N,C] a branch's output before it joins the stream; gradient of a norm's output
    float* stream_gradient = nullptr;   // [N,C]
    float* inner_gradient = nullptr;    // [N,max(I, H*D)]
    float* wide_gradient = nullptr;     // [N,max(2I or I, (H+2K)*D)]
    float* rope_frequencies = nullptr;  // [D/2]

  private:
    // A buffer per block: block i's starts at `base + i * stride` floats; stride 0 = one for all.
    struct PerBlock {
        std::size_t base = 0;
        std::size_t stride = 0;
        bool present = false;
    };
    [[nodiscard]] float* at(const PerBlock& buffer, std::int64_t block) const;
    [[nodiscard]] Heads heads_in(float* base) const;

    std::size_t width_q_, width_kv_, rows_;
    bool apart_;
    PerBlock stream_, attention_mean_, attention_rstd_, attention_input_, raw_, q_rstd_, k_rstd_, q_, k_,
        lse_, attended_;
    PerBlock middle_, mlp_mean_, mlp_rstd_, mlp_input_, mlp_hidden_, mlp_active_;
    std::size_t floats_ = 0;
    std::shared_ptr<float[]> arena_;
};

}  // namespace Atoll::model

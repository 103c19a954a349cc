// The readable definition of every operation in ops.h: straight from the formula, in float, one loop a
// symbol. The truth for every test; nothing else calls it. Arguments and conventions are those of ops.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace Atoll::kernels::plain {

struct AttentionShape {
    Index batch = 0, sequence = 0, heads = 0, kv_heads = 0, head_dim = 0;
    Index q_stride = 0, k_stride = 0, v_stride = 0;
    float scale = 0;
};

struct HeadShape {
    Index rows = 0, channels = 0, vocabulary = 0;
    float loss_scale = 1, z_loss = 0;
};

struct AdamWShape {
    float learning_rate = 0, beta1 = 0, beta2 = 0, epsilon = 0, weight_decay = 0, gradient_scale = 1;
    std::int64_t step = 1;
};

void matmul(const float* a, const float* b, const float* bias, float* c, Index m, Index n, Index k,
            bool transpose_a, bool transpose_b, bool accumulate);
void bias_backward(const float* d_y, float* d_bias, Index m, Index n);

void embedding_forward(const std::int32_t* tokens, const float* token_table, const float* position_table,
                       float* out, Index batch, Index sequence, Index channels);
void embedding_backward(const std::int32_t* tokens, const float* d_out, float* d_token_table,
                        float* d_position_table, Index batch, Index sequence, Index channels);

void layernorm_forward(const float* x, const float* residual_in, float* residual_out, const float* weight,
                       const float* bias, float* y, float* mean, float* rstd, Index rows, Index channels,
                       float epsilon);
void layernorm_backward(const float* x, const float* weight, const float* mean, const float* rstd,
                        const float* d_y, float* d_x, float* d_weight, float* d_bias, Index rows,
                        Index channels, bool accumulate);
void rmsnorm_forward(const float* x, const float* residual_in, float* residual_out, const float* weight,
                     float* y, float* rstd, Index rows, Index channels, float epsilon);
void rmsnorm_backward(const float* x, const float* weight, const float* rstd, const float* d_y, float* d_x,
                      float* d_weight, Index rows, Index channels, bool accumulate);

void gelu_forward(const float* x, float* y, std::size_t size);
void gelu_backward(const float* x, const float* d_y, float* d_x, std::size_t size);
void swiglu_forward(const float* gate_up, float* y, Index rows, Index inner);
void swiglu_backward(const float* gate_up, const float* d_y, float* d_gate_up, Index rows, Index inner);

void rope(float* x, const float* frequencies, Index batch, Index sequence, Index heads, Index head_dim,
          Index stride, Index position_offset, bool inverse);

void attention_forward(const float* q, const float* k, const float* v, float* out, float* lse,
                       const AttentionShape& shape);
void attention_backward(const float* q, const float* k, const float* v, const float* d_out, float* d_q,
                        float* d_k, float* d_v, const AttentionShape& shape);
void attention_decode(const float* q, const float* k_cache, const float* v_cache, float* out, Index batch,
                      Index length, Index length_max, Index heads, Index kv_heads, Index head_dim,
                      float scale);

// d_hidden and d_head: both or neither.
void head_loss(const float* hidden, const float* head, const std::int32_t* targets, float* losses,
               float* d_hidden, float* d_head, const HeadShape& shape);

void adamw(float* parameters, const float* gradients, float* m, float* v, std::size_t size,
           const AdamWShape& shape);

}  // namespace Atoll::kernels::plain

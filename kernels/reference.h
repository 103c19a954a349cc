// The readable definition of every operation in ops.h: straight from the formula, in double, one loop a
// symbol. The truth for every test; nothing else calls it. Arguments and conventions are those of ops.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace Atoll::kernels::reference {

struct AttentionShape {
    Index batch = 0, sequence = 0, heads = 0, kv_heads = 0, head_dim = 0;
    Index q_stride = 0, k_stride = 0, v_stride = 0;
    double scale = 0;
};

struct HeadShape {
    Index rows = 0, channels = 0, vocabulary = 0;
    double loss_scale = 1, z_loss = 0;
};

struct AdamWShape {
    double learning_rate = 0, beta1 = 0, beta2 = 0, epsilon = 0, weight_decay = 0, gradient_scale = 1;
    std::int64_t step = 1;
};

void matmul(const double* a, const double* b, const double* bias, double* c, Index m, Index n, Index k,
            bool transpose_a, bool transpose_b, bool accumulate);
void bias_backward(const double* d_y, double* d_bias, Index m, Index n);

void embedding_forward(const std::int32_t* tokens, const double* token_table, const double* position_table,
                       double* out, Index batch, Index sequence, Index channels);
void embedding_backward(const std::int32_t* tokens, const double* d_out, double* d_token_table,
                        double* d_position_table, Index batch, Index sequence, Index channels);

void layernorm_forward(const double* x, const double* residual_in, double* residual_out, const double* weight,
                       const double* bias, double* y, double* mean, double* rstd, Index rows, Index channels,
                       double epsilon);
void layernorm_backward(const double* x, const double* weight, const double* mean, const double* rstd,
                        const double* d_y, double* d_x, double* d_weight, double* d_bias, Index rows,
                        Index channels, bool accumulate);
void rmsnorm_forward(const double* x, const double* residual_in, double* residual_out, const double* weight,
                     double* y, double* rstd, Index rows, Index channels, double epsilon);
void rmsnorm_backward(const double* x, const double* weight, const double* rstd, const double* d_y,
                      double* d_x, double* d_weight, Index rows, Index channels, bool accumulate);

void gelu_forward(const double* x, double* y, std::size_t size);
void gelu_backward(const double* x, const double* d_y, double* d_x, std::size_t size);
void swiglu_forward(const double* gate_up, double* y, Index rows, Index inner);
void swiglu_backward(const double* gate_up, const double* d_y, double* d_gate_up, Index rows, Index inner);

void rope(double* x, const double* frequencies, Index batch, Index sequence, Index heads, Index head_dim,
          Index stride, Index position_offset, bool inverse);

void attention_forward(const double* q, const double* k, const double* v, double* out, double* lse,
                       const AttentionShape& shape);
void attention_backward(const double* q, const double* k, const double* v, const double* d_out, double* d_q,
                        double* d_k, double* d_v, const AttentionShape& shape);
void attention_decode(const double* q, const double* k_cache, const double* v_cache, double* out, Index batch,
                      Index length, Index length_max, Index heads, Index kv_heads, Index head_dim,
                      double scale);

// d_hidden and d_head: both or neither.
void head_loss(const double* hidden, const double* head, const std::int32_t* targets, double* losses,
               double* d_hidden, double* d_head, const HeadShape& shape);

// Number `index` of the stream of `seed` (kernels/normals.h).
[[nodiscard]] double normal(std::uint64_t seed, std::uint64_t index);

void adamw(double* parameters, const double* gradients, double* m, double* v, std::size_t size,
           const AdamWShape& shape);

}  // namespace Atoll::kernels::reference

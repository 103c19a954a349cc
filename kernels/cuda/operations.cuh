// Every operation of kernels/ops.h on the device: arguments as there, but tokens, targets and terms are
// device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/context.cuh"
#include "kernels/ops.h"

namespace Atoll::kernels::cuda {

void bias_backward(Context& context, const float* d_y, float* d_bias, Index m, Index n);

void embedding_forward(Context& context, const std::int32_t* tokens, const float* token_table,
                       const float* position_table, float* out, Index batch, Index sequence, Index channels);
// `tokens` is host memory here: the order of summation is made on the host.
void embedding_backward(Context& context, const std::int32_t* tokens, const float* d_out,
                        float* d_token_table, float* d_position_table, Index batch, Index sequence,
                        Index channels);

void layernorm_forward(Context& context, const float* x, const float* residual_in, float* residual_out,
                       const float* weight, const float* bias, float* y, float* mean, float* rstd, Index rows,
                       Index channels, float epsilon);
void layernorm_backward(Context& context, const float* x, const float* weight, const float* mean,
                        const float* rstd, const float* d_y, float* d_x, float* d_weight, float* d_bias,
                        Index rows, Index channels, bool accumulate);
void rmsnorm_forward(Context& context, const float* x, const float* residual_in, float* residual_out,
                     const float* weight, float* y, float* rstd, Index rows, Index channels, float epsilon);
void rmsnorm_backward(Context& context, const float* x, const float* weight, const float* rstd,
                      const float* d_y, float* d_x, float* d_weight, Index rows, Index channels,
                      bool accumulate);

void gelu_forward(Context& context, const float* x, float* y, std::size_t size);
void gelu_backward(Context& context, const float* x, const float* d_y, float* d_x, std::size_t size);
void swiglu_forward(Context& context, const float* gate_up, float* y, Index rows, Index inner);
void swiglu_backward(Context& context, const float* gate_up, const float* d_y, float* d_gate_up, Index rows,
                     Index inner);

void rope(Context& context, float* x, const float* frequencies, Index batch, Index sequence, Index heads,
          Index head_dim, Index stride, Index position_offset, bool inverse);

void attention_forward(Context& context, const Attention& attention);
void attention_backward(Context& context, const AttentionBackward& attention);
void attention_decode(Context& context, const AttentionDecode& attention);

// Losses of `rows` rows of logits [rows, vocabulary]; backward: the logits become their gradient.
void loss_rows(Context& context, float* logits, const std::int32_t* targets, float* losses, Index rows,
               Index vocabulary, float loss_scale, float z_loss, bool backward);

void axpy(Context& context, float alpha, const float* x, float* y, std::size_t size);
void add(Context& context, const float* a, const float* b, float* out, std::size_t size);
void scale(Context& context, float alpha, float* x, std::size_t size);
void fill(Context& context, float* x, float value, std::size_t size);

[[nodiscard]] double sum(Context& context, const float* x, std::size_t size);
[[nodiscard]] double squared_norm(Context& context, const float* x, std::size_t size);
[[nodiscard]] double squared_norm_of_sum(Context& context, float a, const float* x, float b, const float* y,
                                         std::size_t size);

void update(Context& context, const Update& update);
void update_rows(Context& context, const RowAdamUpdate& update);
[[nodiscard]] ProdigySums prodigy_moments(Context& context, const ProdigyMoments& step);

void add_normals(Context& context, const NormalTerm* terms, std::size_t count, std::size_t first, float* x,
                 std::size_t size);

// to[i] = from[i], rounded to the nearest bf16; to: 2 bytes a value.
void round_to_bf16(Context& context, const float* from, void* to, std::size_t size);

}  // namespace Atoll::kernels::cuda

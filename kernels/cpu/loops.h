// The vectorised loops of the CPU, one .cc file a topic. Arguments as in kernels/ops.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/cpu/context.h"
#include "kernels/cpu/matmul.h"
#include "kernels/ops.h"

namespace Atoll::kernels::cpu {

void axpy(Context& context, float alpha, const float* x, float* y, std::size_t size);
void add(Context& context, const float* a, const float* b, float* out, std::size_t size);
void scale(Context& context, float alpha, float* x, std::size_t size);
void fill(Context& context, float* x, float value, std::size_t size);

// Rounds to the nearest bf16, ties to even; NaN stays NaN.
void to_bf16(Context& context, const float* from, std::uint16_t* to, std::size_t size);

double sum(Context& context, const float* x, std::size_t size);
double squared_norm(Context& context, const float* x, std::size_t size);
void bias_backward(Context& context, const float* d_y, float* d_bias, Index m, Index n);

// out[columns] += the sum of `rows` rows of x, `stride` floats apart, in order.
void add_column_sums(Context& context, const float* x, std::size_t rows, std::size_t stride,
                     std::size_t columns, float* out);
// Rows summed into one partial sum by the gradients of biases and norm weights: at most 32 partial sums, the
// same whatever the number of threads.
[[nodiscard]] constexpr std::size_t row_block(std::size_t rows) { return rows < 512 ? 16 : (rows + 31) / 32; }

void gelu_forward(Context& context, const float* x, float* y, std::size_t size);
void gelu_backward(Context& context, const float* x, const float* d_y, float* d_x, std::size_t size);
void swiglu_forward(Context& context, const float* gate_up, float* y, Index rows, Index inner);
void swiglu_backward(Context& context, const float* gate_up, const float* d_y, float* d_gate_up, Index rows,
                     Index inner);

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

void embedding_forward(Context& context, const std::int32_t* tokens, const float* token_table,
                       const float* position_table, float* out, Index batch, Index sequence, Index channels);
void embedding_backward(Context& context, const std::int32_t* tokens, const float* d_out,
                        float* d_token_table, float* d_position_table, Index batch, Index sequence,
                        Index channels);

void rope(Context& context, float* x, const float* frequencies, Index batch, Index sequence, Index heads,
          Index head_dim, Index stride, Index position_offset, bool inverse);

void attention_forward(Context& context, const Attention& attention);
void attention_backward(Context& context, const AttentionBackward& attention);
void attention_decode(Context& context, const AttentionDecode& attention);

void head_loss(Context& context, Products& products, const HeadLoss& loss);

double squared_norm_of_sum(Context& context, float a, const float* x, float b, const float* y,
                           std::size_t size);
void update(Context& context, const Update& update);
void update_rows(Context& context, const RowAdamUpdate& update);
ProdigySums prodigy_moments(Context& context, const ProdigyMoments& step);
void add_normals(Context& context, std::span<const NormalTerm> terms, std::size_t first, float* x,
                 std::size_t size);

}  // namespace Atoll::kernels::cpu

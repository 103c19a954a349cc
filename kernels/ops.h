// Every numeric operation, declared once with its shapes. Each device implements this interface; each
// implementation runs through tests/kernels/ops_test.cc against kernels/reference.h (double precision).
//
// Conventions: row-major, contiguous. B batch, T sequence length, N = B*T rows, C channels, V vocabulary, H
// query heads, K key/value heads (H a multiple of K), D head dimension. Pointers are to memory of the
// implementation's device (allocate()). fp32 unless said otherwise. "+=" in a comment means the output is
// accumulated into, "=" overwritten. Operations do not allocate in steady state, do not fail, and run in
// order; results are bit-identical from call to call with the same thread count (fixed reduction order).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "kernels/normals.h"
#include "kernels/update.h"

namespace Atoll::kernels {

using Index = std::int64_t;

enum class Precision {
    fp32,
    bf16,  // products take operands rounded to bf16 (nearest even) and accumulate in fp32; all else stays
           // fp32
};

// C[m,n] (+)= op(A)[m,k] * op(B)[k,n] (+ bias[n] on every row)
struct Matmul {
    const float* a = nullptr;     // [m,k], or [k,m] if transpose_a
    const float* b = nullptr;     // [k,n], or [n,k] if transpose_b
    float* c = nullptr;           // [m,n]
    const float* bias = nullptr;  // [n] or nullptr
    Index m = 0, n = 0, k = 0;
    bool transpose_a = false;
    bool transpose_b = false;
    bool accumulate = false;  // += instead of =
    Precision precision = Precision::fp32;
    // b is a parameter that changes only at weights_changed(): a device may keep it packed (or rounded) until
    // then.
    bool b_is_weight = false;
};

struct Attention {
    // q [B,T,H,D], k and v [B,T,K,D], each row `stride` floats after the previous token's (so that q, k and v
    // can be parts of one fused projection); out [B,T,H*D] contiguous; lse [B,H,T] = log-sum-exp of each row,
    // for backward.
    const float* q = nullptr;
    const float* k = nullptr;
    const float* v = nullptr;
    float* out = nullptr;
    float* lse = nullptr;
    Index batch = 0, sequence = 0, heads = 0, kv_heads = 0, head_dim = 0;
    Index q_stride = 0, k_stride = 0, v_stride = 0;
    float scale = 0;  // usually 1/sqrt(D); causal mask always
};

struct AttentionBackward {
    Attention forward;             // as it was called (out and lse filled in)
    const float* d_out = nullptr;  // [B,T,H*D]
    float* d_q = nullptr;          // same shapes and strides as q, k, v; =
    float* d_k = nullptr;
    float* d_v = nullptr;
};

// One query token per sequence against a cache (generation): q [B,H,D], caches [B,T_max,K,D] of which the
// first `length` tokens are filled (the new one included), out [B,H*D].
struct AttentionDecode {
    const float* q = nullptr;
    const float* k_cache = nullptr;
    const float* v_cache = nullptr;
    float* out = nullptr;
    Index batch = 0, length = 0, length_max = 0, heads = 0, kv_heads = 0, head_dim = 0;
    float scale = 0;
};

// Softmax cross-entropy fused with the output head and chunked over the rows or the vocabulary, so that
// logits [N,V] are never all in memory.
struct HeadLoss {
    const float* hidden = nullptr;          // [N,C]
    const float* head = nullptr;            // [V,C] (a weight)
    const std::int32_t* targets = nullptr;  // [N], -1 = ignored
    float* losses = nullptr;                // [N] =, 0 where ignored
    // Backward, both or neither (nullptr = forward only): gradients of sum(losses) * loss_scale.
    float* d_hidden = nullptr;  // [N,C] =
    float* d_head = nullptr;    // [V,C] +=
    float loss_scale = 1;
    // Auxiliary z-loss: adds z_loss * logsumexp^2 to each loss.
    float z_loss = 0;
    Index rows = 0, channels = 0, vocabulary = 0;
    Precision precision = Precision::fp32;
};

class Ops {
  public:
    virtual ~Ops() = default;

    [[nodiscard]] virtual std::string device_name() const = 0;
    [[nodiscard]] virtual int threads() const = 0;
    // Whether bf16 products run on bf16 hardware (otherwise operands are rounded and multiplied in fp32: same
    // numbers, no speed-up).
    [[nodiscard]] virtual bool fast_bf16() const = 0;

    // Device memory, 64-byte aligned, zeroed. The deleter must run before the Ops object goes.
    [[nodiscard]] virtual std::shared_ptr<float[]> allocate(std::size_t floats) = 0;
    virtual void copy_to_device(float* device, std::span<const float> host) = 0;
    virtual void copy_to_host(std::span<float> host, const float* device) = 0;
    // Packed copies of weights are stale from here on.
    virtual void weights_changed() = 0;

    virtual void matmul(const Matmul&) = 0;
    // bias gradient: d_bias[n] += sum over m of d_y[m,n]
    virtual void bias_backward(const float* d_y, float* d_bias, Index m, Index n) = 0;

    // out[N,C] = token_table[tokens[i]] + (position_table ? position_table[i % T] : 0)
    virtual void embedding_forward(const std::int32_t* tokens, const float* token_table,
                                   const float* position_table, float* out, Index batch, Index sequence,
                                   Index channels) = 0;
    // d_token_table += , d_position_table += (nullptr allowed); same order of summation every time
    virtual void embedding_backward(const std::int32_t* tokens, const float* d_out, float* d_token_table,
                                    float* d_position_table, Index batch, Index sequence, Index channels) = 0;

    // y = (x - mean) * rstd * weight + bias, over the last dimension; mean, rstd [N] are kept for backward.
    // If residual_in is given: x_sum = x + residual_in is written to residual_out and normalised.
    virtual void layernorm_forward(const float* x, const float* residual_in, float* residual_out,
                                   const float* weight, const float* bias, float* y, float* mean, float* rstd,
                                   Index rows, Index channels, float epsilon) = 0;
    // x: what was normalised. d_x = (or += if accumulate), d_weight +=, d_bias +=
    virtual void layernorm_backward(const float* x, const float* weight, const float* mean, const float* rstd,
                                    const float* d_y, float* d_x, float* d_weight, float* d_bias, Index rows,
                                    Index channels, bool accumulate) = 0;
    // y = x * rstd * weight, rstd = 1/sqrt(mean(x^2) + epsilon); weight nullptr = 1. Residual as in
    // layernorm_forward.
    virtual void rmsnorm_forward(const float* x, const float* residual_in, float* residual_out,
                                 const float* weight, float* y, float* rstd, Index rows, Index channels,
                                 float epsilon) = 0;
    virtual void rmsnorm_backward(const float* x, const float* weight, const float* rstd, const float* d_y,
                                  float* d_x, float* d_weight, Index rows, Index channels,
                                  bool accumulate) = 0;

    // GELU, tanh form: y[i] = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
    virtual void gelu_forward(const float* x, float* y, std::size_t size) = 0;
    virtual void gelu_backward(const float* x, const float* d_y, float* d_x,
                               std::size_t size) = 0;  // =, d_x may be d_y
    // gate_up [N,2I] = gate then up on each row; y[N,I] = silu(gate) * up
    virtual void swiglu_forward(const float* gate_up, float* y, Index rows, Index inner) = 0;
    virtual void swiglu_backward(const float* gate_up, const float* d_y, float* d_gate_up, Index rows,
                                 Index inner) = 0;

    // Rotary position embedding in place on x [B,T,heads,D], token rows `stride` floats apart. Rotates halves
    // (element j with j + D/2), as Hugging Face. frequencies [D/2]: angle = position * frequency. `inverse`
    // rotates back (the gradient). position of token t is position_offset + t.
    virtual void rope(float* x, const float* frequencies, Index batch, Index sequence, Index heads,
                      Index head_dim, Index stride, Index position_offset, bool inverse) = 0;

    virtual void attention_forward(const Attention&) = 0;
    virtual void attention_backward(const AttentionBackward&) = 0;
    virtual void attention_decode(const AttentionDecode&) = 0;

    virtual void head_loss(const HeadLoss&) = 0;

    // y[i] += alpha * x[i]
    virtual void axpy(float alpha, const float* x, float* y, std::size_t size) = 0;
    virtual void add(const float* a, const float* b, float* out, std::size_t size) = 0;
    virtual void scale(float alpha, float* x, std::size_t size) = 0;
    virtual void fill(float* x, float value, std::size_t size) = 0;
    // Sum and sum of squares in a fixed order, accumulated in double.
    [[nodiscard]] virtual double sum(const float* x, std::size_t size) = 0;
    [[nodiscard]] virtual double squared_norm(const float* x, std::size_t size) = 0;

    // Sum of (a x[i] + b y[i])^2, in a fixed order.
    [[nodiscard]] virtual double squared_norm_of_sum(float a, const float* x, float b, const float* y,
                                                     std::size_t size) = 0;

    // The optimizers' element-wise steps (kernels/update.h). Arrays of one step do not overlap.
    virtual void update(const Update&) = 0;
    virtual void update_rows(const RowAdamUpdate&) = 0;
    [[nodiscard]] virtual ProdigySums prodigy_moments(const ProdigyMoments&) = 0;

    // x[i] += scale * z(seed)[first + i] for each term, in order: the same bits on every machine and device
    // (kernels/normals.h). One pass over x, whatever the number of terms.
    virtual void add_normals(std::span<const NormalTerm> terms, std::size_t first, float* x,
                             std::size_t size) = 0;
};

// The CPU implementation. threads <= 0: one per core.
[[nodiscard]] std::unique_ptr<Ops> make_cpu_ops(int threads);

// "cpu", "cuda" or "auto". Errors: unavailable, naming what is missing.
[[nodiscard]] Result<std::unique_ptr<Ops>> make_ops(const std::string& device, int threads);

}  // namespace Atoll::kernels

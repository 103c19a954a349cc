#include <algorithm>
#include <limits>

#include "kernels/cpu/attention_blocks.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/onednn.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

// delta[i] = d_out[i] . out[i], which equals the sum over keys of p d_p.
void RowDots(const float* a, const float* b, Index rows, Index stride, Index dim, float* dots) {
    const FloatTag d;
    for (Index i = 0; i < rows; ++i) {
        const float* x = a + i * stride;
        const float* y = b + i * stride;
        dots[i] = Fold(d, static_cast<std::size_t>(dim), [&](std::size_t j, auto load, auto sum) HWY_ATTR {
            return hn::MulAdd(load(x + j), load(y + j), sum);
        });
    }
}

// Scores become probabilities p = exp(score - lse), and d_p becomes d_score = scale p (d_p - delta); 0 where
// masked. Row i of [rows, length] has `valid + i` causal keys.
void SoftmaxBackward(float* scores, float* d_p, Index rows, Index stride, Index length, Index valid,
                     const float* lse, const float* delta, float scale) {
    const FloatTag d;
    const auto factor = hn::Set(d, scale);
    for (Index i = 0; i < rows; ++i) {
        float* const p = scores + i * stride;
        float* const d_s = d_p + i * stride;
        const Index keys = std::clamp<Index>(valid + i, 0, length);
        const Index count = (keys + kPadding - 1) / kPadding * kPadding;
        std::fill(p + keys, p + count, -std::numeric_limits<float>::infinity());
        const auto shift = hn::Set(d, lse[i]);
        const auto mean = hn::Set(d, delta[i]);
        ForEach(d, static_cast<std::size_t>(count), [&](std::size_t j, auto load, auto store) HWY_ATTR {
            const auto weight = Exp(d, hn::Sub(load(p + j), shift));
            store(p + j, weight);
            store(d_s + j, hn::Mul(hn::Mul(factor, weight), hn::Sub(load(d_s + j), mean)));
        });
        std::fill(p + count, p + stride, 0.0F);
        std::fill(d_s + count, d_s + stride, 0.0F);
    }
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(RowDots);
HWY_EXPORT(SoftmaxBackward);

namespace {

// One block of queries of head h against all its keys; adds into the rows of d_k and d_v.
void backward_block(const AttentionBackward& a, Index b, Index h, Index begin, Index rows, float* scratch) {
    const Attention& f = a.forward;
    const Index dim = f.head_dim;
    const Index kv = h / (f.heads / f.kv_heads);
    const Index row = b * f.sequence + begin;
    const Index out_stride = f.heads * dim;
    const Index out_at = row * out_stride + h * dim;
    const float* const lse = f.lse + (b * f.heads + h) * f.sequence + begin;
    float* const p = scratch;
    float* const d_s = p + kQueries * kKeys;
    float* const delta = d_s + kQueries * kKeys;
    HWY_DYNAMIC_DISPATCH(RowDots)(a.d_out + out_at, f.out + out_at, rows, out_stride, dim, delta);
    const float* const q = f.q + row * f.q_stride + h * dim;
    for (Index key = 0; key < begin + rows; key += kKeys) {
        const Index length = std::min(kKeys, begin + rows - key);
        const Index stride = (length + kPadding - 1) / kPadding * kPadding;
        const Index k_at = (b * f.sequence + key) * f.k_stride + kv * dim;
        const Index v_at = (b * f.sequence + key) * f.v_stride + kv * dim;
        // p = q k^T, d_s = d_out v^T
        onednn_gemm({.a = q,
                     .a_row = f.q_stride,
                     .a_column = 1,
                     .b = f.k + k_at,
                     .b_row = 1,
                     .b_column = f.k_stride,
                     .c = p,
                     .c_row = stride,
                     .m = rows,
                     .n = length,
                     .k = dim},
                    f.scale);
        onednn_gemm({.a = a.d_out + out_at,
                     .a_row = out_stride,
                     .a_column = 1,
                     .b = f.v + v_at,
                     .b_row = 1,
                     .b_column = f.v_stride,
                     .c = d_s,
                     .c_row = stride,
                     .m = rows,
                     .n = length,
                     .k = dim});
        HWY_DYNAMIC_DISPATCH(SoftmaxBackward)
        (p, d_s, rows, stride, length, begin - key + 1, lse, delta, f.scale);
        // d_q += d_s k, d_k += d_s^T q, d_v += p^T d_out
        onednn_gemm({.a = d_s,
                     .a_row = stride,
                     .a_column = 1,
                     .b = f.k + k_at,
                     .b_row = f.k_stride,
                     .b_column = 1,
                     .c = a.d_q + row * f.q_stride + h * dim,
                     .c_row = f.q_stride,
                     .m = rows,
                     .n = dim,
                     .k = length,
                     .accumulate = key != 0});
        onednn_gemm({.a = d_s,
                     .a_row = 1,
                     .a_column = stride,
                     .b = q,
                     .b_row = f.q_stride,
                     .b_column = 1,
                     .c = a.d_k + k_at,
                     .c_row = f.k_stride,
                     .m = length,
                     .n = dim,
                     .k = rows,
                     .accumulate = true});
        onednn_gemm({.a = p,
                     .a_row = 1,
                     .a_column = stride,
                     .b = a.d_out + out_at,
                     .b_row = out_stride,
                     .b_column = 1,
                     .c = a.d_v + v_at,
                     .c_row = f.v_stride,
                     .m = length,
                     .n = dim,
                     .k = rows,
                     .accumulate = true});
    }
}

}  // namespace

// One part for each key/value head of each sequence, so that no two write the same row of d_k and d_v and
// their sums have one order.
void attention_backward(Context& context, const AttentionBackward& a) {
    const Attention& f = a.forward;
    const Index group = f.heads / f.kv_heads;
    const Index block = query_block(f.sequence);
    const auto floats = static_cast<std::size_t>(kQueries * (2 * kKeys + 1));
    context.run(static_cast<std::size_t>(f.batch * f.kv_heads), [&](std::size_t slot, std::size_t part) {
        const Index b = static_cast<Index>(part) / f.kv_heads;
        const Index kv = static_cast<Index>(part) % f.kv_heads;
        for (Index t = b * f.sequence; t < (b + 1) * f.sequence; ++t) {
            std::fill_n(a.d_k + t * f.k_stride + kv * f.head_dim, f.head_dim, 0.0F);
            std::fill_n(a.d_v + t * f.v_stride + kv * f.head_dim, f.head_dim, 0.0F);
        }
        for (Index h = kv * group; h < (kv + 1) * group; ++h) {
            for (Index begin = 0; begin < f.sequence; begin += block) {
                backward_block(a, b, h, begin, std::min(block, f.sequence - begin),
                               context.slot_scratch(slot, floats));
            }
        }
    });
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

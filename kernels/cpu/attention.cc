#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/attention_blocks.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/onednn.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

// One block of scores [rows, stride] of which row i has `valid + i` causal keys (at most length): each
// becomes exp(score - running maximum), 0 where masked; largest and total are carried over the key blocks and
// `out` [rows, dim], the sum so far, is rescaled to the new maximum (Dao et al. 2022, FlashAttention,
// algorithm 1). stride is a multiple of kPadding, so that rows are handled in whole vectors.
void OnlineSoftmax(float* scores, Index rows, Index stride, Index valid, Index length, bool first,
                   float* largest, float* total, float* out, Index dim) {
    const FloatTag d;
    for (Index i = 0; i < rows; ++i) {
        float* const row = scores + i * stride;
        const Index keys = std::min(length, valid + i);
        const auto count = static_cast<std::size_t>((keys + kPadding - 1) / kPadding * kPadding);
        std::fill(row + keys, row + count, -std::numeric_limits<float>::infinity());
        const float block_largest = FoldMax(d, row, count);
        const float now = first ? block_largest : std::max(largest[i], block_largest);
        const auto center = hn::Set(d, now);
        const float sum = Fold(d, count, [&](std::size_t j, auto load, auto sums) HWY_ATTR {
            const auto weight = Exp(d, hn::Sub(load(row + j), center));
            hn::Store(weight, d, row + j);
            return hn::Add(weight, sums);
        });
        std::fill(row + count, row + stride, 0.0F);
        if (first) {
            total[i] = sum;
        } else {
            const float rescale = std::exp(largest[i] - now);
            total[i] = total[i] * rescale + sum;
            const auto factor = hn::Set(d, rescale);
            ForEach(d, static_cast<std::size_t>(dim), [&](std::size_t j, auto load, auto store) HWY_ATTR {
                float* const element = out + i * dim + static_cast<Index>(j);
                store(element, hn::Mul(factor, load(element)));
            });
        }
        largest[i] = now;
    }
}

void ScaledCopy(const float* from, float factor, float* to, std::size_t size) {
    const FloatTag d;
    const auto scale = hn::Set(d, factor);
    ForEach(d, size, [&](std::size_t j, auto load, auto store) HWY_ATTR {
        store(to + j, hn::Mul(scale, load(from + j)));
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(OnlineSoftmax);
HWY_EXPORT(ScaledCopy);

namespace {

// All keys for queries begin..begin+rows of head h of sequence b.
void attend(const Attention& a, Index b, Index h, Index begin, Index rows, float* scratch) {
    const Index dim = a.head_dim;
    const Index kv = h / (a.heads / a.kv_heads);
    float* const scores = scratch;
    float* const sums = scores + kQueries * kKeys;
    float* const largest = sums + kQueries * dim;
    float* const total = largest + kQueries;
    const Index row = b * a.sequence + begin;
    const float* const q = a.q + row * a.q_stride + h * dim;
    for (Index key = 0; key < begin + rows; key += kKeys) {
        const Index length = std::min(kKeys, begin + rows - key);
        const Index stride = (length + kPadding - 1) / kPadding * kPadding;
        const float* const k = a.k + (b * a.sequence + key) * a.k_stride + kv * dim;
        const float* const v = a.v + (b * a.sequence + key) * a.v_stride + kv * dim;
        onednn_gemm({.a = q,
                     .a_row = a.q_stride,
                     .a_column = 1,
                     .b = k,
                     .b_row = 1,
                     .b_column = a.k_stride,
                     .c = scores,
                     .c_row = stride,
                     .m = rows,
                     .n = length,
                     .k = dim},
                    a.scale);
        HWY_DYNAMIC_DISPATCH(OnlineSoftmax)
        (scores, rows, stride, begin - key + 1, length, key == 0, largest, total, sums, dim);
        onednn_gemm({.a = scores,
                     .a_row = stride,
                     .a_column = 1,
                     .b = v,
                     .b_row = a.v_stride,
                     .b_column = 1,
                     .c = sums,
                     .c_row = dim,
                     .m = rows,
                     .n = dim,
                     .k = length,
                     .accumulate = key != 0});
    }
    for (Index i = 0; i < rows; ++i) {
        HWY_DYNAMIC_DISPATCH(ScaledCopy)
        (sums + i * dim, 1 / total[i], a.out + (row + i) * a.heads * dim + h * dim,
         static_cast<std::size_t>(dim));
        a.lse[(b * a.heads + h) * a.sequence + begin + i] = largest[i] + std::log(total[i]);
    }
}

}  // namespace

void attention_forward(Context& context, const Attention& a) {
    const Index block = query_block(a.sequence);
    const Index blocks = (a.sequence + block - 1) / block;
    const auto floats = static_cast<std::size_t>(kQueries * (kKeys + a.head_dim + 2));
    // The longest rows first: what is left at the end is short.
    context.run(static_cast<std::size_t>(blocks * a.batch * a.heads),
                [&](std::size_t slot, std::size_t part) {
                    const Index head = static_cast<Index>(part) % (a.batch * a.heads);
                    const Index begin = (blocks - 1 - static_cast<Index>(part) / (a.batch * a.heads)) * block;
                    attend(a, head / a.heads, head % a.heads, begin, std::min(block, a.sequence - begin),
                           context.slot_scratch(slot, floats));
                });
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

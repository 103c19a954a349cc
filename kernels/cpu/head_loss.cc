#include <algorithm>
#include <cmath>

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/head_loss.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

// One row of logits: returns its log-sum-exp. If backward, the row becomes the gradient
// loss_scale (p (1 + 2 z lse) - [target]).
float HeadLossRow(float* logits, std::size_t vocabulary, std::size_t target, float loss_scale, float z_loss,
                  bool backward) {
    const FloatTag d;
    const float largest = FoldMax(d, logits, vocabulary);
    const auto center = hn::Set(d, largest);
    const float sum = Fold(d, vocabulary, [&](std::size_t i, auto load, auto total) HWY_ATTR {
        return hn::Add(total, Exp(d, hn::Sub(load(logits + i, -INFINITY), center)));
    });
    const float lse = largest + std::log(sum);
    if (!backward) return lse;
    const auto shift = hn::Set(d, lse);
    const auto factor = hn::Set(d, loss_scale * (1 + 2 * z_loss * lse));
    ForEach(d, vocabulary, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        store(logits + i, hn::Mul(factor, Exp(d, hn::Sub(load(logits + i), shift))));
    });
    logits[target] -= loss_scale;
    return lse;
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(HeadLossRow);

namespace {

// Rows whose logits are in memory at once: 16 MiB, which the caches may hold, but enough rows (up to 64 MiB)
// that reading and writing d_head once a chunk costs little beside the product.
Index chunk_rows(const HeadLoss& loss) {
    const auto rows_of = [&](Index mebibytes) {
        return std::max<Index>(1, mebibytes * 262144 / loss.vocabulary);
    };
    const Index largest = std::clamp<Index>(256, rows_of(16), std::max(rows_of(16), rows_of(64)));
    const Index chunks = (loss.rows + largest - 1) / largest;
    return (loss.rows + chunks - 1) / chunks;
}

void loss_rows(Context& context, const HeadLoss& loss, float* logits, Index first, Index rows,
               bool backward) {
    const auto vocabulary = static_cast<std::size_t>(loss.vocabulary);
    const std::size_t grain = 32768 / vocabulary + 1;
    context.pool().range(static_cast<std::size_t>(rows), grain, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            float* const row = logits + i * vocabulary;
            const std::size_t at = static_cast<std::size_t>(first) + i;
            if (loss.targets[at] < 0) {
                loss.losses[at] = 0;
                std::fill_n(row, vocabulary, 0.0F);
                continue;
            }
            const auto target = static_cast<std::size_t>(loss.targets[at]);
            const float logit = row[target];
            const float lse = HWY_DYNAMIC_DISPATCH(HeadLossRow)(row, vocabulary, target, loss.loss_scale,
                                                                loss.z_loss, backward);
            loss.losses[at] = lse - logit + loss.z_loss * lse * lse;
        }
    });
}

}  // namespace

void head_loss(Context& context, Products& products, const HeadLoss& loss) {
    if (loss.rows == 0) return;
    const Index chunk = chunk_rows(loss);
    const bool backward = loss.d_hidden != nullptr;
    float* const logits = context.shared_scratch(static_cast<std::size_t>(chunk * loss.vocabulary));
    for (Index first = 0; first < loss.rows; first += chunk) {
        const Index rows = std::min(chunk, loss.rows - first);
        const float* const hidden = loss.hidden + first * loss.channels;
        products.run({.a = hidden,
                      .b = loss.head,
                      .c = logits,
                      .m = rows,
                      .n = loss.vocabulary,
                      .k = loss.channels,
                      .transpose_b = true,
                      .precision = loss.precision,
                      .b_is_weight = true});
        loss_rows(context, loss, logits, first, rows, backward);
        if (!backward) continue;
        products.run({.a = logits,
                      .b = loss.head,
                      .c = loss.d_hidden + first * loss.channels,
                      .m = rows,
                      .n = loss.channels,
                      .k = loss.vocabulary,
                      .precision = loss.precision,
                      .b_is_weight = true});
        products.run({.a = logits,
                      .b = hidden,
                      .c = loss.d_head,
                      .m = loss.vocabulary,
                      .n = loss.channels,
                      .k = rows,
                      .transpose_a = true,
                      .accumulate = true,
                      .precision = loss.precision});
    }
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

#include <algorithm>

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_decode.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

// One query against `length` keys and values, rows `stride` floats apart; scores holds length floats.
void DecodeHead(const float* q, const float* k, const float* v, float* out, std::size_t length,
                std::size_t stride, std::size_t dim, float scale, float* scores) {
    const FloatTag d;
    for (std::size_t u = 0; u < length; ++u) {
        const float* key = k + u * stride;
        scores[u] = scale * Fold(d, dim, [&](std::size_t j, auto load, auto sum) HWY_ATTR {
                        return hn::MulAdd(load(q + j), load(key + j), sum);
                    });
    }
    const auto center = hn::Set(d, FoldMax(d, scores, length));
    ForEach(d, length, [&](std::size_t u, auto load, auto store) HWY_ATTR {
        store(scores + u, Exp(d, hn::Sub(load(scores + u), center)));
    });
    const float total = Fold(d, length, [&](std::size_t u, auto load, auto sum) HWY_ATTR {
        return hn::Add(load(scores + u), sum);
    });
    std::fill_n(out, dim, 0.0F);
    for (std::size_t u = 0; u < length; ++u) {
        const float* value = v + u * stride;
        const auto weight = hn::Set(d, scores[u] / total);
        ForEach(d, dim, [&](std::size_t j, auto load, auto store) HWY_ATTR {
            store(out + j, hn::MulAdd(weight, load(value + j), load(out + j)));
        });
    }
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(DecodeHead);

void attention_decode(Context& context, const AttentionDecode& a) {
    const auto length = static_cast<std::size_t>(a.length);
    context.run(static_cast<std::size_t>(a.batch * a.heads), [&](std::size_t slot, std::size_t part) {
        const Index b = static_cast<Index>(part) / a.heads;
        const Index kv = static_cast<Index>(part) % a.heads / (a.heads / a.kv_heads);
        const Index head = static_cast<Index>(part) * a.head_dim;
        const Index cache = (b * a.length_max * a.kv_heads + kv) * a.head_dim;
        // A multiple of 1024 tokens, so that the scratch does not grow at every token.
        float* const scores = context.slot_scratch(slot, (length + 1023) / 1024 * 1024);
        HWY_DYNAMIC_DISPATCH(DecodeHead)
        (a.q + head, a.k_cache + cache, a.v_cache + cache, a.out + head, length,
         static_cast<std::size_t>(a.kv_heads * a.head_dim), static_cast<std::size_t>(a.head_dim), a.scale,
         scores);
    });
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

#include <algorithm>

#include "kernels/cpu/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/embedding.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::cpu {
namespace HWY_NAMESPACE {

void CopyOrAdd(const float* a, const float* b, float* out, std::size_t size) {
    const FloatTag d;
    if (b == nullptr) {
        std::copy_n(a, size, out);
    } else {
        ForEach(d, size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
            store(out + i, hn::Add(load(a + i), load(b + i)));
        });
    }
}

void Accumulate(const float* x, float* sum, std::size_t size) {
    const FloatTag d;
    ForEach(d, size, [&](std::size_t i, auto load, auto store) HWY_ATTR {
        store(sum + i, hn::Add(load(sum + i), load(x + i)));
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace Atoll::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels::cpu {

HWY_EXPORT(CopyOrAdd);
HWY_EXPORT(Accumulate);

void embedding_forward(Context& context, const std::int32_t* tokens, const float* token_table,
                       const float* position_table, float* out, Index batch, Index sequence, Index channels) {
    const auto size = static_cast<std::size_t>(channels);
    const auto length = static_cast<std::size_t>(sequence);
    context.pool().range(
        static_cast<std::size_t>(batch) * length, 16, [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin; i < end; ++i) {
                const float* position =
                    position_table == nullptr ? nullptr : position_table + i % length * size;
                const float* token = token_table + static_cast<std::size_t>(tokens[i]) * size;
                HWY_DYNAMIC_DISPATCH(CopyOrAdd)(token, position, out + i * size, size);
            }
        });
}

// Each thread owns some of the channels of both tables and adds the tokens in their order.
void embedding_backward(Context& context, const std::int32_t* tokens, const float* d_out,
                        float* d_token_table, float* d_position_table, Index batch, Index sequence,
                        Index channels) {
    const auto size = static_cast<std::size_t>(channels);
    const auto length = static_cast<std::size_t>(sequence);
    const std::size_t rows = static_cast<std::size_t>(batch) * length;
    context.pool().range(size, 32, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = 0; i < rows; ++i) {
            const float* from = d_out + i * size + begin;
            float* const token = d_token_table + static_cast<std::size_t>(tokens[i]) * size + begin;
            HWY_DYNAMIC_DISPATCH(Accumulate)(from, token, end - begin);
            if (d_position_table == nullptr) continue;
            HWY_DYNAMIC_DISPATCH(Accumulate)(from, d_position_table + i % length * size + begin, end - begin);
        }
    });
}

}  // namespace Atoll::kernels::cpu
#endif  // HWY_ONCE

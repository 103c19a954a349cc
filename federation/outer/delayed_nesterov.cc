#include "federation/outer/delayed_nesterov.h"

#include <algorithm>

#include "base/check.h"

namespace Atoll::federation {

void DelayedNesterov::arrive(std::size_t offset, std::span<float> anchor, std::span<const float> delta,
                             std::size_t n, bool last) {
    ATOLL_CHECK(anchor.size() == delta.size() && offset + delta.size() <= m_.size());
    float* const m = m_.data() + offset;
    float* const sum = sum_.data() + offset;
    const float part = 1 / static_cast<float>(n);
    for (std::size_t i = 0; i < anchor.size(); ++i) {
        const float update = part * delta[i];
        sum[i] += update;
        anchor[i] -= rate_ * update;
    }
    if (!last) return;
    for (std::size_t i = 0; i < anchor.size(); ++i) {
        m[i] = momentum_ * m[i] + sum[i];
        anchor[i] -= rate_ * momentum_ * m[i];
        sum[i] = 0;
    }
}

void DelayedNesterov::forget(std::size_t offset, std::size_t size) {
    std::ranges::fill(m_.span().subspan(offset, size), 0.0F);
    std::ranges::fill(sum_.span().subspan(offset, size), 0.0F);
}

}  // namespace Atoll::federation

#include "model/island/shards.h"

#include <cmath>

#include "base/check.h"

namespace Atoll::model {

kernels::Parts optimizer_parts(const kernels::Layout& layout, std::span<const TensorScale> scales,
                               bool coupled, int ranks) {
    const std::vector<DecayRange> ranges = decay_ranges(layout, scales);
    std::vector<std::size_t> ends;
    std::size_t end = 0, next = 0;
    for (int rank = 1; rank <= ranks; ++rank) {
        const double equal = static_cast<double>(layout.size()) / ranks * rank;
        const auto distance = [equal](std::size_t cut) { return std::abs(static_cast<double>(cut) - equal); };
        while (next < ranges.size()) {
            const std::size_t after = ranges[next].offset + ranges[next].size;
            if (distance(after) > distance(end) && rank < ranks && !coupled) break;
            end = after;
            ++next;
        }
        ends.push_back(end);
    }
    return kernels::Parts(std::move(ends));
}

Shard shard_of(const kernels::Layout& layout, std::span<const TensorScale> scales,
               const kernels::Parts& parts, int rank) {
    Shard shard;
    for (std::size_t i = 0; i < layout.slots().size(); ++i) {
        const kernels::TensorSlot& slot = layout.slots()[i];
        if (slot.offset < parts.begin(rank) || slot.offset >= parts.end(rank)) continue;
        shard.layout.add(slot.name, slot.shape);
        if (!scales.empty()) shard.scales.push_back(scales[i]);
    }
    ATOLL_CHECK(shard.layout.size() == parts.size(rank));
    return shard;
}

}  // namespace Atoll::model

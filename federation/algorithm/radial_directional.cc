#include "federation/algorithm/radial_directional.h"

#include <algorithm>

#include "base/check.h"
#include "federation/algorithm/steps.h"

namespace Atoll::federation {

RadialDirectionalMean::RadialDirectionalMean(const kernels::Layout& layout, const Fragment& fragment) {
    std::size_t at = 0;
    for (const FragmentRange& range : fragment) {
        for (const kernels::TensorSlot& slot : layout.slots()) {
            const std::size_t begin = std::max(slot.offset, range.offset);
            const std::size_t end = std::min(slot.offset + slot.size, range.offset + range.size);
            if (begin >= end) continue;
            pieces_.push_back({begin, end - begin, at, is_embedding(slot)});
            at += end - begin;
        }
    }
    sum_.resize(at);
}

void RadialDirectionalMean::add(std::span<const float> values, double weight) {
    ATOLL_CHECK(weight > 0);
    weight_ += weight;
    for (Piece& piece : pieces_) {
        const std::span<const float> v = values.subspan(piece.offset, piece.size);
        const double length = norm(v);
        piece.lengths += weight * length;
        if (length == 0) continue;
        const auto factor = static_cast<float>(piece.plain ? weight : weight / length);
        for (std::size_t i = 0; i < v.size(); ++i) sum_[piece.at + i] += factor * v[i];
    }
}

void RadialDirectionalMean::finish(std::span<float> out) {
    for (const Piece& piece : pieces_) {
        const std::span<const float> sum = std::span(sum_).subspan(piece.at, piece.size);
        double factor = 1 / weight_;
        if (!piece.plain) {
            const double length = norm(sum);
            factor = length > 0 ? piece.lengths / weight_ / length : 0;
        }
        for (std::size_t i = 0; i < sum.size(); ++i)
            out[piece.offset + i] = static_cast<float>(factor * static_cast<double>(sum[i]));
    }
    clear();
}

void RadialDirectionalMean::clear() {
    std::ranges::fill(sum_, 0.0F);
    for (Piece& piece : pieces_) piece.lengths = 0;
    weight_ = 0;
}

}  // namespace Atoll::federation

#include "model/optim/moments.h"

#include <algorithm>

#include "base/check.h"
#include "base/rng.h"

namespace Atoll::model {

namespace {
// Three vectors of it, parameters and gradients stay in a core's second-level cache: packing costs no memory
// traffic.
constexpr std::size_t kPart = 64 * kStateBlock;

// As a layout ends: the vectors of neighbouring shards, one after the other, are those of the whole.
std::size_t padded(std::size_t size) {
    constexpr std::size_t kTo = kernels::Layout::kSlotAlignment;
    return (size + kTo - 1) / kTo * kTo;
}
}  // namespace

Moments::Moments(StateFormat format, std::vector<DecayRange> ranges, std::vector<Vector> vectors)
    : format_(format), ranges_(std::move(ranges)), vectors_(std::move(vectors)) {
    ATOLL_CHECK(vectors_.size() <= kVectorsMax);
    std::size_t size = 0, longest = 0;
    for (const DecayRange& range : ranges_) {
        // fp32 vectors have the layout's own offsets.
        begins_.push_back(format == StateFormat::fp32 ? range.offset : size);
        size = begins_.back() + packed_floats(format, range.size);
        if (format == StateFormat::fp32) size = padded(size);
        longest = std::max(longest, range.size);
    }
    for (std::size_t i = 0; i < vectors_.size(); ++i) {
        kept_.emplace_back(size);
        if (format != StateFormat::fp32) parts_.emplace_back(std::min(longest, kPart));
    }
}

void Moments::visit(std::int64_t step,
                    const std::function<void(const DecayRange&, const Pointers&)>& update) {
    for (std::size_t i = 0; i < ranges_.size(); ++i) visit(i, step, update);
}

void Moments::visit(std::size_t index, std::int64_t step,
                    const std::function<void(const DecayRange&, const Pointers&)>& update) {
    const DecayRange& range = ranges_[index];
    Pointers pointers{};
    if (format_ == StateFormat::fp32) {
        for (std::size_t i = 0; i < vectors_.size(); ++i) pointers[i] = kept_[i].data() + begins_[index];
        update(range, pointers);
        return;
    }
    const std::size_t floats = packed_floats(format_, range.size);
    for (std::size_t first = 0; first < range.size; first += kPart) {
        DecayRange part = range;
        part.offset += first;
        part.size = std::min(kPart, range.size - first);
        for (std::size_t i = 0; i < vectors_.size(); ++i) {
            const auto kept = kept_[i].span().subspan(begins_[index], floats);
            unpack(format_, vectors_[i].sign, kept, range.size, first, parts_[i].span().first(part.size));
            pointers[i] = parts_[i].data();
        }
        update(part, pointers);
        for (std::size_t i = 0; i < vectors_.size(); ++i) {
            const auto kept = kept_[i].span().subspan(begins_[index], floats);
            const std::uint64_t seed =
                mix64(mix64(static_cast<std::uint64_t>(step)) + index * kVectorsMax + i);
            pack(format_, vectors_[i].sign, kept, range.size, first, parts_[i].span().first(part.size),
                 static_cast<std::uint32_t>(seed));
        }
    }
}

std::vector<StateVector> Moments::state() {
    std::vector<StateVector> vectors;
    const std::string suffix =
        format_ == StateFormat::fp32 ? "" : "." + std::string(state_format_name(format_));
    for (std::size_t i = 0; i < vectors_.size(); ++i)
        vectors.push_back({vectors_[i].name + suffix, kept_[i].span()});
    return vectors;
}

}  // namespace Atoll::model

#include "federation/algorithm/residuals.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

namespace Atoll::federation {

Residuals::Residuals(const RunConfig::CodecTable& options, std::size_t size)
    : enabled_(options.error_feedback), decay_(static_cast<float>(options.feedback_decay)), size_(size) {}

std::vector<std::span<float>> Residuals::next(const gossip::Codec& codec, std::size_t stages) {
    return next(codec, stages, {{0, size_}});
}

std::vector<std::span<float>> Residuals::next(const gossip::Codec& codec, std::size_t stages,
                                              const Fragment& ranges) {
    if (!enabled_ || codec.lossless()) return {};
    grow(stages);
    std::vector<std::span<float>> spans;
    for (std::size_t i = 0; i < stages; ++i) {
        spans.push_back(stages_[i].span());
        if (decay_ == 1) continue;
        for (const FragmentRange& range : ranges) {
            for (float& value : spans.back().subspan(range.offset, range.size)) value *= decay_;
        }
    }
    return spans;
}

void Residuals::forget() {
    for (auto& stage : stages_) std::ranges::fill(stage.span(), 0.0F);
}

void Residuals::append_to(std::vector<StateVector>& state) {
    for (std::size_t i = 0; i < stages_.size(); ++i) {
        state.push_back({fmt::format("residual.{}", i), stages_[i].span(), false});
    }
}

bool Residuals::reserve(std::string_view name) {
    constexpr std::string_view kPrefix = "residual.";
    constexpr std::size_t kStagesMax = 64;  // of averaging.stages; a period is log2 of the members
    if (!name.starts_with(kPrefix)) return false;
    std::size_t stage = 0;
    const auto [stop, error] =
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), stage);
    if (error != std::errc() || stop != name.data() + name.size() || stage >= kStagesMax) return false;
    grow(stage + 1);
    return true;
}

void Residuals::grow(std::size_t stages) {
    while (stages_.size() < stages) stages_.emplace_back(size_);
}

}  // namespace Atoll::federation

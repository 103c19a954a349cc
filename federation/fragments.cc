#include "federation/fragments.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "base/check.h"

namespace Atoll::federation {

namespace {

constexpr std::size_t kLayersPerFragment = 3;  // Streaming DiLoCo, section 3

// Number of the transformer block that a tensor belongs to; nothing for embeddings, last norm and head.
std::optional<std::size_t> block_of(std::string_view tensor) {
    for (const std::string_view stem : {"layers.", "h."}) {
        const std::size_t at = tensor.find(stem);
        if (at == std::string_view::npos || (at > 0 && tensor[at - 1] != '.')) continue;
        std::size_t block = 0;
        const char* const begin = tensor.data() + at + stem.size();
        if (std::from_chars(begin, tensor.data() + tensor.size(), block).ec == std::errc()) return block;
    }
    return std::nullopt;
}

// Where each block begins: the first one at 0, with what stands before it.
std::vector<std::size_t> block_offsets(const kernels::Layout& layout) {
    std::vector<std::size_t> offsets;
    for (const auto& slot : layout.slots()) {
        const auto block = block_of(slot.name);
        if (block && *block == offsets.size()) offsets.push_back(offsets.empty() ? 0 : slot.offset);
    }
    return offsets;
}

std::vector<std::size_t> equal_offsets(std::size_t size, std::size_t count) {
    constexpr std::size_t kGrain = kernels::Layout::kSlotAlignment;
    std::vector<std::size_t> offsets;
    for (std::size_t i = 0; i < count; ++i) offsets.push_back(size * i / count / kGrain * kGrain);
    return offsets;
}

}  // namespace

std::size_t fragment_size(const Fragment& fragment) {
    std::size_t size = 0;
    for (const FragmentRange& range : fragment) size += range.size;
    return size;
}

std::size_t fragment_count(const RunConfig& config) {
    if (config.algorithm.fragments > 0) return static_cast<std::size_t>(config.algorithm.fragments);
    return (static_cast<std::size_t>(config.model.layers) + kLayersPerFragment - 1) / kLayersPerFragment;
}

std::vector<Fragment> make_fragments(const kernels::Layout& layout, std::size_t count, bool strided) {
    ATOLL_CHECK(count > 0);
    std::vector<std::size_t> offsets = block_offsets(layout);
    if (offsets.size() < count) offsets = equal_offsets(layout.size(), count);
    const std::size_t blocks = offsets.size();
    offsets.push_back(layout.size());
    std::vector<Fragment> fragments(count);
    for (std::size_t b = 0; b < blocks; ++b) {
        Fragment& fragment = fragments[strided ? b % count : b * count / blocks];
        const FragmentRange range{offsets[b], offsets[b + 1] - offsets[b]};
        if (!fragment.empty() && fragment.back().offset + fragment.back().size == range.offset) {
            fragment.back().size += range.size;
        } else {
            fragment.push_back(range);
        }
    }
    return fragments;
}

bool is_embedding(const kernels::TensorSlot& slot) { return slot.shape.size() == 2 && !block_of(slot.name); }

Status check_fragments(const RunConfig& config) {
    if (config.algorithm.fragments <= config.model.layers) return {};
    return Error{ErrorCode::invalid,
                 fmt::format("algorithm.fragments = {} but model.layers = {}: expected at most one fragment "
                             "a layer",
                             config.algorithm.fragments, config.model.layers)};
}

}  // namespace Atoll::federation

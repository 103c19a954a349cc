// Fragments: the parts of the flat vector that are exchanged each at its own time, or looked after by a
// member of its own (Douillard et al. 2025, "Streaming DiLoCo", section 2.2).
#pragma once

#include <cstddef>
#include <vector>

#include "base/result.h"
#include "federation/run_config.h"
#include "kernels/flat.h"

namespace Atoll::federation {

struct FragmentRange {
    std::size_t offset = 0;
    std::size_t size = 0;
};
// In ascending order, without gaps between fragments: together they are the whole vector, padding included.
using Fragment = std::vector<FragmentRange>;

[[nodiscard]] std::size_t fragment_size(const Fragment& fragment);

// P: algorithm.fragments, or one for every three layers.
[[nodiscard]] std::size_t fragment_count(const RunConfig& config);

// `count` fragments of whole blocks: block b is in fragment b mod P (strided) or floor(b P / blocks)
// (sequential). What stands before the first block (embeddings) goes with it, and what follows the last one
// with that. A vector without blocks (a quadratic) is cut into equal runs.
[[nodiscard]] std::vector<Fragment> make_fragments(const kernels::Layout& layout, std::size_t count,
                                                   bool strided);

// A matrix outside the blocks: token or position embeddings, or the head.
[[nodiscard]] bool is_embedding(const kernels::TensorSlot& slot);

// Errors (invalid): more fragments than layers, with both keys.
[[nodiscard]] Status check_fragments(const RunConfig& config);

}  // namespace Atoll::federation

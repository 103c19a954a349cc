// Which part of the flat vector's optimizer state each rank keeps, and steps.
#pragma once

#include "kernels/collective/collective.h"
#include "kernels/flat.h"
#include "model/optim/optimizer.h"

namespace Atoll::model {

// One part a rank, in order, cut only where decay_ranges() are cut: so every tensor is whole (Muon and SOAP
// need that), and the states of the parts one after the other are the state of an optimizer without parts,
// packed or not. Each cut is the one nearest to equal sizes. An optimizer that is `coupled` is not cut: rank
// 0 has it all.
[[nodiscard]] kernels::Parts optimizer_parts(const kernels::Layout& layout,
                                             std::span<const TensorScale> scales, bool coupled, int ranks);

// The tensors of a part, and their scales, as a layout of their own, with the same offsets less the part's
// begin.
struct Shard {
    kernels::Layout layout;
    std::vector<TensorScale> scales;
};
[[nodiscard]] Shard shard_of(const kernels::Layout& layout, std::span<const TensorScale> scales,
                             const kernels::Parts& parts, int rank);

}  // namespace Atoll::model

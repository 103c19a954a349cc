// How causal attention is cut into blocks, forward and backward alike.
#pragma once

#include "kernels/ops.h"

namespace Atoll::kernels::cpu {

// Scores of one block: 64 x 256 floats, 64 KiB, which stay in the second-level cache.
constexpr Index kQueries = 64;
constexpr Index kKeys = 256;
// Rows of scores are padded to a multiple of this many, whole vectors of every target.
constexpr Index kPadding = 16;

// The diagonal block computes up to half a block too much a row; short sequences take smaller ones.
constexpr Index query_block(Index sequence) { return sequence <= 256 ? kQueries / 2 : kQueries; }

}  // namespace Atoll::kernels::cpu

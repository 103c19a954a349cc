// Growing a trained model: HyperCloning (Samragh et al. 2024, arXiv 2409.12903) in width, blocks that are the
// identity at first (Wu et al. 2024, arXiv 2401.02415) in depth. The large model computes the same function,
// and the same bits on every machine: whoever holds the small one and the seed needs nothing else.
//
// Every vector of the large model is n stacked copies of the small model's, with n = width / width before:
//   W -> W in n_out x n_in blocks, each divided by n_in; heads are copied as a block, so that grouped queries
//   meet the copy of their own keys; biases, norms, embeddings n times; an output head [V, C] n times,
//   divided by n, or, if it is the embedding, the final norm is divided by n instead.
// Equal blocks would receive equal gradients forever (we train without dropout). So noise of `noise_db`
// decibels below a block is added to one of two neighbours and taken from the other: their inputs are equal,
// it cancels.
//
// In depth every block is followed by copies of itself whose last matrices are zero.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "model/config.h"

namespace Atoll::model {

struct Growth {
    std::int64_t width = 0;  // of the large model; 0 = as before
    std::int64_t layers = 0;
    std::int64_t inner = 0;  // 0 = grows as the width
    double noise_db = 10;    // signal to noise; infinity = none
    std::uint64_t seed = 1;  // of the noise
};

// The large model's shape. Errors (invalid): not a multiple, smaller, nothing to grow, too large; names the
// flag, its value and the model's.
[[nodiscard]] Result<ModelConfig> grown_config(const ModelConfig& from, const Growth& growth);

// Preconditions: `to` is grown_config(from, growth), the spans have the sizes of their layouts. float and
// double.
template <typename Float>
void grow_parameters(const ModelConfig& from, const ModelConfig& to, const Growth& growth,
                     std::span<const Float> small, std::span<Float> large);

// Adam's moments, so that training goes on in the middle of a run, the number of the step unchanged.
// Gradients of the large model are the small one's divided by n_out; new blocks begin without a first moment,
// with the second of the block they copy.
enum class Moment { first, second };
void grow_moment(const ModelConfig& from, const ModelConfig& to, Moment moment, std::span<const float> small,
                 std::span<float> large);

}  // namespace Atoll::model

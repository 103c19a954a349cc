// Newton-Schulz iteration for the orthogonal factor of a matrix, as Muon uses it.
#pragma once

#include "kernels/flat.h"
#include "kernels/ops.h"

namespace Atoll::model {

// Replaces `matrix` [rows, columns] by an approximation of U V^T of its singular value decomposition: five
// steps of X <- a X + (b A + c A^2) X with A = X X^T after division by the Frobenius norm, (a, b, c) =
// (3.4445, -4.7750, 2.0315); singular values end up between 0.68 and 1.21 (Jordan et al. 2024). The products
// run on the shorter side. Scratch grows to the largest matrix seen.
class NewtonSchulz {
  public:
    explicit NewtonSchulz(kernels::Ops& ops) : ops_(ops) {}
    void orthogonalize(float* matrix, std::int64_t rows, std::int64_t columns);

  private:
    kernels::Ops& ops_;
    kernels::FlatBuffer gram_, polynomial_, next_;
};

}  // namespace Atoll::model

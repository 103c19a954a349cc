// The slowly moving eigenbasis of one side of a matrix's gradients, as SOAP keeps it.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/flat.h"
#include "kernels/ops.h"

namespace Atoll::model {

class Eigenbasis {
  public:
    // The identity, which never changes and stores nothing.
    Eigenbasis() = default;
    // Of symmetric matrices [side, side].
    explicit Eigenbasis(std::int64_t side);

    [[nodiscard]] bool identity() const { return side_ == 0; }
    // Row-major; the columns of basis() are the eigenvectors.
    [[nodiscard]] std::span<float> covariance() { return covariance_.span(); }
    [[nodiscard]] std::span<float> basis() { return basis_.span(); }
    [[nodiscard]] std::span<const float> basis() const { return basis_.span(); }
    [[nodiscard]] kernels::FlatBuffer& scratch() { return scratch_; }  // [side, side]

    // basis = eigenvectors of the covariance, by descending eigenvalue.
    void decompose();
    // One step of orthogonal iteration: the columns are ordered by their Rayleigh quotients, descending, and
    // `second` [rows, columns], which is kept in this basis along `axis`, with them; then basis =
    // QR(covariance basis).
    enum class Side { rows, columns };
    void refresh(kernels::Ops& ops, std::span<float> second, std::int64_t rows, std::int64_t columns,
                 Side axis);

  private:
    std::int64_t side_ = 0;
    kernels::FlatBuffer covariance_, basis_, scratch_;
};

}  // namespace Atoll::model

// Radial-directional averaging (Decoupled DiLoCo, arXiv 2604.21428): lengths and directions are averaged
// apart, so that updates that are nearly orthogonal do not shrink to 1 / sqrt(M) of their length.
//
//   mean = (sum w_m |v_m| / sum w_m) * unit(sum w_m unit(v_m) / sum w_m),     unit(0) = 0
//
// for each tensor. Embeddings take the plain weighted mean, since most of their rows are touched by few.
#pragma once

#include <span>
#include <vector>

#include "federation/fragments.h"
#include "kernels/flat.h"

namespace Atoll::federation {

class RadialDirectionalMean {
  public:
    // Of the tensors of `layout` that lie in `fragment`: whole ones, or parts where a fragment cuts them.
    RadialDirectionalMean(const kernels::Layout& layout, const Fragment& fragment);

    // `values`: of the whole vector's length; only the fragment's are read. Weight: > 0.
    void add(std::span<const float> values, double weight);
    [[nodiscard]] bool empty() const { return weight_ == 0; }
    // Into the fragment's part of `out`, which has the whole vector's length; then starts anew.
    void finish(std::span<float> out);
    void clear();

  private:
    struct Piece {
        std::size_t offset = 0;  // in the vector
        std::size_t size = 0;
        std::size_t at = 0;  // in sum_
        bool plain = false;
        double lengths = 0;  // sum of w_m |v_m|
    };
    std::vector<Piece> pieces_;
    std::vector<float> sum_;  // of w_m unit(v_m); where plain, of w_m v_m
    double weight_ = 0;
};

}  // namespace Atoll::federation

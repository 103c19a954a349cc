// The single-threaded matrix product that every product of the CPU is cut into: packed panels, register
// tiles, after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3),
// 2008.
#pragma once

#include <cstddef>

#include "kernels/ops.h"

namespace Atoll::kernels::cpu {

// C[m,n] (+)= A[m,k] B[k,n] (+ bias[n]). Element (i,l) of A lies at a[i * a_row + l * a_column], where one of
// the two strides is 1 and the other the length of a stored row; the same for B. C has rows c_row floats
// apart.
struct Gemm {
    const float* a = nullptr;
    Index a_row = 0, a_column = 0;
    const float* b = nullptr;
    Index b_row = 0, b_column = 0;
    float* c = nullptr;
    Index c_row = 0;
    Index m = 0, n = 0, k = 0;
    const float* bias = nullptr;
    bool accumulate = false;
    bool round_bf16 = false;  // operands are rounded to bf16 (nearest even) as they are packed
};

// Floats of scratch, 64-byte aligned, that a product of at most m x n x k needs.
[[nodiscard]] std::size_t gemm_scratch(Index m, Index n, Index k);
void gemm(const Gemm& product, float* scratch);

}  // namespace Atoll::kernels::cpu

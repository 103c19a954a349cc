#include "kernels/cpu/onednn.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

#include "base/check.h"

namespace Atoll::kernels::cpu {

void onednn_gemm(const Gemm& p, float alpha) {
    omp_set_num_threads(1);  // of this thread: oneDNN then starts no team of its own
    if (p.bias != nullptr) {
        for (Index i = 0; i < p.m; ++i) {
            float* const row = p.c + i * p.c_row;
            if (p.accumulate) {
                for (Index j = 0; j < p.n; ++j) row[j] += p.bias[j];
            } else {
                std::copy_n(p.bias, p.n, row);
            }
        }
    }
    const bool transpose_a = p.a_column != 1;
    const bool transpose_b = p.b_column != 1;
    // A single row or column has no meaningful stride, but oneDNN checks it.
    const Index a_stride = transpose_a ? p.a_column : std::max(p.a_row, p.k);
    const Index b_stride = transpose_b ? p.b_column : std::max(p.b_row, p.n);
    const dnnl_status_t status =
        dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', p.m, p.n, p.k, alpha, p.a, a_stride, p.b,
                   b_stride, p.accumulate || p.bias != nullptr ? 1.0F : 0.0F, p.c, p.c_row);
    ATOLL_CHECK(status == dnnl_success);
}

}  // namespace Atoll::kernels::cpu

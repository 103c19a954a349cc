// The door to oneDNN's fp32 product on the calling thread alone; our pool does the threading.
#pragma once

#include "kernels/cpu/gemm.h"

namespace Atoll::kernels::cpu {

// C (+)= alpha A B (+ bias).
void onednn_gemm(const Gemm& product, float alpha = 1);

}  // namespace Atoll::kernels::cpu

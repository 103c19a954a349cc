// What threads of a warp and of a block do together: sums and maxima in a fixed order, shared memory.
#pragma once

#include <cuda_runtime.h>

namespace Atoll::kernels::cuda {

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;

// The block's dynamic shared memory.
__device__ __forceinline__ float* shared_floats() {
#if defined(__CUDACC__)
    extern __shared__ float4 atoll_shared[];
    return reinterpret_cast<float*>(atoll_shared);
#else
    return reinterpret_cast<float*>(emulation::shared_memory());
#endif
}

struct Sum {
    template <typename T>
    __device__ T operator()(T a, T b) const {
        return a + b;
    }
};
struct Largest {
    __device__ float operator()(float a, float b) const { return a > b ? a : b; }
};

// Every lane gets the result. Precondition: all 32 lanes call it.
template <typename Operation, typename T>
__device__ __forceinline__ T warp_fold(T value, Operation fold) {
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        value = fold(value, __shfl_xor_sync(kAllLanes, value, distance));
    }
    return value;
}

// Every thread gets the result. `scratch`: one T a warp, in shared memory, free before and after.
// Precondition: all threads of the block call it, a multiple of 32.
template <typename Operation, typename T>
__device__ T block_fold(T value, T* scratch, Operation fold) {
    const unsigned warp = threadIdx.x / kWarp;
    value = warp_fold(value, fold);
    if (threadIdx.x % kWarp == 0) scratch[warp] = value;
    __syncthreads();
    T total = scratch[0];
    for (unsigned i = 1; i < blockDim.x / kWarp; ++i) total = fold(total, scratch[i]);
    __syncthreads();
    return total;
}

}  // namespace Atoll::kernels::cuda

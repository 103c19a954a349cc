// Errors and launches of the CUDA runtime, for the .cu files beside this one.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

namespace Atoll::kernels::cuda {

// A CUDA call failed: the device is lost to this process, which ends with the message (the last checkpoint
// stands).
class DeviceError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

inline void check(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return;
    throw DeviceError(std::string(what) + ": " + cudaGetErrorName(error) + " (" + cudaGetErrorString(error) +
                      ")");
}

// Threads of a block where a kernel has no reason to want another number.
inline constexpr unsigned kBlock = 256;

// Blocks for `items` at `per_block` each; at least one. Precondition: fits in a grid's first dimension.
[[nodiscard]] inline unsigned blocks_for(std::size_t items, std::size_t per_block = kBlock) {
    return static_cast<unsigned>(items == 0 ? 1 : (items + per_block - 1) / per_block);
}

// Runs a kernel to its end: between two operations the host reads and writes buffers that it shares with the
// device (kernels/flat.h).
template <typename... Parameters, typename... Arguments>
void launch(cudaStream_t stream, dim3 grid, dim3 block, std::size_t shared_bytes,
            void (*kernel)(Parameters...), Arguments&&... arguments) {
    constexpr std::size_t kWithoutAsking = 48 * 1024;
    if (shared_bytes > kWithoutAsking) {
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared_bytes)),
              "shared memory of a kernel");
    }
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), "launch of a kernel");
    check(cudaStreamSynchronize(stream), "a kernel");
}

}  // namespace Atoll::kernels::cuda

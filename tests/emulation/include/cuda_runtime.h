// The part of the CUDA runtime that kernels/cuda uses, on the emulated device. Names and meanings are CUDA's.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/emulation/device.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

inline constexpr int warpSize = ::Atoll::emulation::kWarp;

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

// ---- device functions ----
namespace Atoll::emulation {
// A built-in variable: reads as the running thread's.
template <auto Vector, auto Component>
struct BuiltInComponent {
    operator unsigned() const { return current().*Vector.*Component; }
};
template <auto Vector, typename Type>
struct BuiltIn {
    BuiltInComponent<Vector, &Type::x> x;
    BuiltInComponent<Vector, &Type::y> y;
    BuiltInComponent<Vector, &Type::z> z;
};
}  // namespace Atoll::emulation
inline constexpr ::Atoll::emulation::BuiltIn<&::Atoll::emulation::Thread::index, uint3> threadIdx{};
inline constexpr ::Atoll::emulation::BuiltIn<&::Atoll::emulation::Thread::block, uint3> blockIdx{};
inline constexpr ::Atoll::emulation::BuiltIn<&::Atoll::emulation::Thread::block_size, dim3> blockDim{};
inline constexpr ::Atoll::emulation::BuiltIn<&::Atoll::emulation::Thread::grid_size, dim3> gridDim{};

inline void __syncthreads() { ::Atoll::emulation::block_barrier(); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU) { ::Atoll::emulation::warp_barrier(mask); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int source) {
    T read;
    ::Atoll::emulation::warp_exchange(mask, &value, &read, static_cast<unsigned>(source), sizeof value);
    return read;
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
    const unsigned lane = ::Atoll::emulation::current().rank % ::Atoll::emulation::kWarp;
    return __shfl_sync(mask, value, static_cast<int>(lane ^ static_cast<unsigned>(distance)));
}

inline float __expf(float x) { return std::exp(x); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(std::uint64_t{a} * b >> 32U);
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }

// ---- host functions ----
enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100,
};
[[nodiscard]] const char* cudaGetErrorName(cudaError_t error);
[[nodiscard]] const char* cudaGetErrorString(cudaError_t error);
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

struct cudaDeviceProp {
    char name[256];
    std::size_t totalGlobalMem;
    int major, minor;
    int multiProcessorCount;
    int concurrentManagedAccess;
};
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);

cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaMallocManaged(void** memory, std::size_t bytes);
cudaError_t cudaFree(void* memory);

// Everything happens in order, at once.
struct CUstream_st {};
using cudaStream_t = CUstream_st*;
inline constexpr unsigned cudaStreamNonBlocking = 1;
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream);

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
template <typename... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
    return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes = 0;
    cudaStream_t stream = nullptr;
    cudaLaunchAttribute* attrs = nullptr;
    unsigned numAttrs = 0;
};

namespace Atoll::emulation {
// The card in this machine, for tests to change: nullopt if there is none.
[[nodiscard]] std::optional<cudaDeviceProp>& card();

// Checks the configuration against the device's limits, then runs it.
cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& body);
}  // namespace Atoll::emulation

template <typename... P, typename... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...), A&&... arguments) {
    return ::Atoll::emulation::launch(*config, reinterpret_cast<const void*>(kernel),
                                      [&] { kernel(static_cast<P>(arguments)...); });
}

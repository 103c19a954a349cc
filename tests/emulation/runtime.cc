// The host side of the emulated CUDA runtime.
#include <cstdio>
#include <unordered_map>

#include "tests/emulation/include/cuda_runtime.h"

namespace {

using namespace Atoll::emulation;

constexpr std::size_t kDeviceBytes = std::size_t{4} << 30U;

std::unordered_map<const void*, std::size_t>& shared_limits() {
    static std::unordered_map<const void*, std::size_t> limits;
    return limits;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
        case cudaErrorNoDevice: return "cudaErrorNoDevice";
    }
    return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    }
    return "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int* count) {
    *count = card() ? 1 : 0;
    return card() ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    if (device != 0 || !card()) return cudaErrorInvalidValue;
    *properties = *card();
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    *total = kDeviceBytes;
    *free = kDeviceBytes - allocated_bytes();
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    if (bytes > kDeviceBytes - allocated_bytes()) return cudaErrorMemoryAllocation;
    *memory = allocate(bytes);
    return *memory != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaMallocManaged(void** memory, std::size_t bytes) { return cudaMalloc(memory, bytes); }
cudaError_t cudaFree(void* memory) {
    if (memory != nullptr) release(memory);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = new CUstream_st;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
    if (bytes > 0) std::memset(memory, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
    if (value < 0 || static_cast<std::size_t>(value) > kSharedBytesMax) return cudaErrorInvalidValue;
    shared_limits()[kernel] = static_cast<std::size_t>(value);
    return cudaSuccess;
}

namespace Atoll::emulation {

std::optional<cudaDeviceProp>& card() {
    static std::optional<cudaDeviceProp> only = cudaDeviceProp{.name = "emulated device",
                                                               .totalGlobalMem = kDeviceBytes,
                                                               .major = 8,
                                                               .minor = 6,
                                                               .multiProcessorCount = 4,
                                                               .concurrentManagedAccess = 1};
    return only;
}

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& body) {
    const auto limit = shared_limits().find(kernel);
    const std::size_t shared_max = limit == shared_limits().end() ? kSharedBytesDefault : limit->second;
    const dim3 &grid = config.gridDim, &block = config.blockDim;
    const bool fits = grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.y <= 65535 && grid.z <= 65535 &&
                      block.x > 0 && block.y > 0 && block.z > 0 && block.x * block.y * block.z <= 1024;
    if (!fits) return cudaErrorInvalidConfiguration;
    if (config.dynamicSmemBytes > shared_max) return cudaErrorInvalidValue;
    run_grid(grid, block, config.dynamicSmemBytes, body);
    return cudaSuccess;
}

}  // namespace Atoll::emulation

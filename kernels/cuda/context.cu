#include "kernels/cuda/context.cuh"

#include <utility>

#include "kernels/cuda/launch.cuh"

namespace Atoll::kernels::cuda {

Memory::Memory(std::size_t bytes) : bytes_(bytes) {
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, bytes);
    if (error == cudaErrorMemoryAllocation) {
        std::size_t free = 0, total = 0;
        check(cudaMemGetInfo(&free, &total), "free device memory");
        throw DeviceError("out of device memory: " + std::to_string(bytes) + " bytes were asked for, " +
                          std::to_string(free) + " of " + std::to_string(total) +
                          " are free; use a smaller batch, more optimizer.accumulation or a smaller model");
    }
    check(error, "device memory");
    data_ = static_cast<std::byte*>(memory);
}

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

Memory::~Memory() { (void)cudaFree(data_); }

Context::Context(int device) {
    check(cudaSetDevice(device), "choice of a device");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
}

Context::~Context() {
    (void)cudaStreamSynchronize(stream_);
    (void)cudaStreamDestroy(stream_);
}

void Context::synchronize() const { check(cudaStreamSynchronize(stream_), "a kernel before this point"); }

std::byte* Context::grown(Scratch kind, std::size_t bytes) {
    Memory& memory = scratch_[static_cast<std::size_t>(kind)];
    if (memory.bytes() < bytes) {
        synchronize();  // kernels may still use the old piece
        memory = Memory();
        memory = Memory(bytes);
    }
    return memory.data();
}

}  // namespace Atoll::kernels::cuda

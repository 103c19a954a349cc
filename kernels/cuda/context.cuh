// What every CUDA operation runs on: one stream, and scratch memory that grows to the largest need and then
// stays.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace Atoll::kernels::cuda {

// Device memory of one owner.
class Memory {
  public:
    Memory() = default;
    // Errors (DeviceError): out of memory, with what was asked for and what is free.
    explicit Memory(std::size_t bytes);
    Memory(Memory&& other) noexcept;
    Memory& operator=(Memory&& other) noexcept;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory();

    [[nodiscard]] std::byte* data() const { return data_; }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

  private:
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

class Context {
  public:
    explicit Context(int device);
    ~Context();
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    [[nodiscard]] cudaStream_t stream() const { return stream_; }
    void synchronize() const;

    // Scratch of the running operation, one piece for each purpose; the contents do not outlive the
    // operation.
    enum class Scratch { indices, partial, logits, left, right, workspace, kinds };
    template <typename T>
    [[nodiscard]] T* scratch(Scratch kind, std::size_t count) {
        return reinterpret_cast<T*>(grown(kind, count * sizeof(T)));
    }

  private:
    [[nodiscard]] std::byte* grown(Scratch kind, std::size_t bytes);

    cudaStream_t stream_ = nullptr;
    Memory scratch_[static_cast<std::size_t>(Scratch::kinds)];
};

}  // namespace Atoll::kernels::cuda

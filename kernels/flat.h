// The flat vector: all parameters of a replica in one contiguous, aligned buffer, with a layout beside it.
// Gradients and every optimizer state are buffers of the same layout. This is the currency of the whole code
// base.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace Atoll::kernels {

struct TensorSlot {
    std::string name;                 // Hugging Face's name of the tensor
    std::vector<std::int64_t> shape;  // row-major
    std::size_t offset = 0;           // in floats, a multiple of kSlotAlignment
    std::size_t size = 0;             // in floats, product of shape
};

// Names, offsets and shapes of the tensors in a flat buffer, in order. A value.
class Layout {
  public:
    static constexpr std::size_t kSlotAlignment =
        16;  // floats: 64 bytes, one cache line, one AVX-512 register

    // Appends a tensor; returns its index.
    std::size_t add(std::string name, std::vector<std::int64_t> shape);
    [[nodiscard]] const std::vector<TensorSlot>& slots() const { return slots_; }
    // nullptr if there is none.
    [[nodiscard]] const TensorSlot* find(std::string_view name) const;
    // Length of the buffer in floats, padding included (padding is zero and stays zero).
    [[nodiscard]] std::size_t size() const { return size_; }
    // Stretches of tensors with no padding between them, in order.
    struct Run {
        std::size_t offset = 0;
        std::size_t size = 0;
    };
    [[nodiscard]] const std::vector<Run>& runs() const { return runs_; }
    // Number of parameters, padding excluded.
    [[nodiscard]] std::size_t parameters() const { return parameters_; }
    // Canonical text of names and shapes: two replicas can exchange updates iff theirs are equal.
    [[nodiscard]] std::string signature() const;

  private:
    std::vector<TensorSlot> slots_;
    std::vector<Run> runs_;
    std::size_t size_ = 0;
    std::size_t parameters_ = 0;
};

// Where buffers take their memory from: the host's own pages, unless the device that computes shares memory
// of its own with the host (CUDA's managed memory).
struct PageSource {
    void* (*allocate)(std::size_t bytes) = nullptr;  // zeroed, 64-byte aligned; nullptr: out of memory
    void (*release)(void* memory) = nullptr;
};
// For all buffers made from now on: a device is chosen before the buffers that it computes with are made.
void set_page_source(const PageSource& source);

// An owned float buffer: 64-byte aligned, zero-initialised, on huge pages where the kernel gives them,
// touched once at construction so that no step pays for page faults (docs/benchmarks.md). Movable, not
// copyable.
class FlatBuffer {
  public:
    FlatBuffer() = default;
    explicit FlatBuffer(std::size_t size);
    FlatBuffer(FlatBuffer&& other) noexcept;
    FlatBuffer& operator=(FlatBuffer&& other) noexcept;
    FlatBuffer(const FlatBuffer&) = delete;
    FlatBuffer& operator=(const FlatBuffer&) = delete;
    ~FlatBuffer();

    [[nodiscard]] std::span<float> span() { return {data_, size_}; }
    [[nodiscard]] std::span<const float> span() const { return {data_, size_}; }
    [[nodiscard]] float* data() { return data_; }
    [[nodiscard]] const float* data() const { return data_; }
    [[nodiscard]] std::size_t size() const { return size_; }

  private:
    float* data_ = nullptr;
    std::size_t size_ = 0;
    void (*release_)(void* memory) = nullptr;  // null: the host's pages
};

}  // namespace Atoll::kernels

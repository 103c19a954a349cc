// An emulated GPU: the threads of a block are fibers, blocks and streams run one after another. Kernels of
// kernels/cuda are compiled as plain C++ against the headers in include/ and run here.
//
// What it catches: a barrier that some threads of a block or lanes of a warp never reach, results that depend
// on the order of threads (schedule()), reads of shared or fresh global memory that nobody has written (both
// hold NaN), and writes behind a block's shared memory or before and behind an allocation. What it cannot
// show: speed; races that a shuffle hides, which is a barrier of its lanes here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

struct uint3 {
    unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3() = default;
    dim3(unsigned width, unsigned height = 1, unsigned depth = 1) : x(width), y(height), z(depth) {}
};

namespace Atoll::emulation {

inline constexpr unsigned kWarp = 32;
inline constexpr std::size_t kSharedBytesMax = 99 * 1024;  // of a block on sm_86, the least of any card
inline constexpr std::size_t kSharedBytesDefault = 48 * 1024;

// The running thread, as the built-in variables of a kernel see it.
struct Thread {
    uint3 index, block;
    dim3 block_size, grid_size;
    unsigned rank = 0;  // within the block, linear
};
[[nodiscard]] const Thread& current();

// Shared memory of the running block.
[[nodiscard]] std::byte* shared_memory();

// __syncthreads: every thread of the block.
void block_barrier();
// __syncwarp: the lanes of the mask, the caller among them.
void warp_barrier(std::uint32_t mask);
// Each lane of the mask gives a value of up to 16 bytes and reads that of `source` (its own if that is not in
// the mask).
void warp_exchange(std::uint32_t mask, const void* given, void* read, unsigned source, std::size_t bytes);

// Runs body() once for every thread of the grid. A violation ends the process with a message that names it.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body);

// In which order threads run between two barriers, and blocks after each other: ascending (seed 0), or
// shuffled anew for every pass.
void schedule(std::uint64_t seed);

// Device memory: filled with NaN, guarded on both sides; release checks the guards.
[[nodiscard]] void* allocate(std::size_t bytes);
void release(void* memory);
[[nodiscard]] std::size_t allocated_bytes();

}  // namespace Atoll::emulation

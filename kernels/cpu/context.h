// What every CPU operation runs on: the pool of threads and the scratch memory, which grows to the largest
// need and then stays, so that no operation allocates in steady state.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <vector>

#include "kernels/flat.h"
#include "kernels/parallel.h"

namespace Atoll::kernels::cpu {

class Context {
  public:
    explicit Context(int threads) : pool_(threads), slots_(static_cast<std::size_t>(threads)) {}

    [[nodiscard]] ThreadPool& pool() { return pool_; }
    [[nodiscard]] int threads() const { return pool_.threads(); }

    // Runs task(slot, part) for every part, handed out dynamically; no two that run at once have the same
    // slot.
    template <typename Task>
    void run(std::size_t parts, const Task& task) {
        std::atomic<std::size_t> next = 0;
        pool_.run(std::min(slots_.size(), parts), [&](std::size_t slot) {
            for (std::size_t part = next.fetch_add(1, std::memory_order_relaxed); part < parts;
                 part = next.fetch_add(1, std::memory_order_relaxed)) {
                task(slot, part);
            }
        });
    }

    // Scratch of one slot; the contents do not outlive the part.
    [[nodiscard]] float* slot_scratch(std::size_t slot, std::size_t floats) {
        return grown(slots_[slot], floats);
    }
    // Scratch of the whole operation, asked for once and before the parts run.
    [[nodiscard]] float* shared_scratch(std::size_t floats) { return grown(shared_, floats); }

  private:
    static float* grown(FlatBuffer& buffer, std::size_t floats) {
        if (buffer.size() < floats) {
            buffer = FlatBuffer();
            buffer = FlatBuffer(floats);
        }
        return buffer.data();
    }

    ThreadPool pool_;
    std::vector<FlatBuffer> slots_;
    FlatBuffer shared_;
};

}  // namespace Atoll::kernels::cpu

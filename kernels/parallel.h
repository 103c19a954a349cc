// One pool of threads a process or replica: bounded spin, then sleep. Work is cut the same way every time, so
// that results do not depend on scheduling.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace Atoll::kernels {

class ThreadPool {
  public:
    // threads includes the caller; 1 = no helper threads.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    [[nodiscard]] int threads() const;
    // Runs task(part) for part = 0..parts-1, each exactly once; returns when all are done. The parts are
    // handed out dynamically; a task must not depend on who runs it. Not reentrant.
    void run(std::size_t parts, const std::function<void(std::size_t part)>& task);
    // Cuts 0..size-1 into threads() contiguous pieces on multiples of `grain` and runs task(begin, end) on
    // each.
    void range(std::size_t size, std::size_t grain,
               const std::function<void(std::size_t begin, std::size_t end)>& task);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace Atoll::kernels

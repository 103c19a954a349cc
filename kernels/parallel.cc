#include "kernels/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/check.h"

namespace Atoll::kernels {

namespace {

// How long a thread looks for work before it sleeps: about 20 us, more than the pause between two operations
// of a training step and far less than a time slice, since several replicas may share the cores.
constexpr int kSpins = 2000;

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
}

// Waits until value differs from `old`: spins a while, then sleeps in the kernel (futex).
std::uint32_t wait_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
    for (int spin = 0; spin < kSpins; ++spin) {
        const std::uint32_t now = value.load(std::memory_order_acquire);
        if (now != old) return now;
        pause();
    }
    while (true) {
        value.wait(old, std::memory_order_acquire);
        const std::uint32_t now = value.load(std::memory_order_acquire);
        if (now != old) return now;
    }
}

}  // namespace

struct ThreadPool::State {
    int threads = 1;
    std::vector<std::thread> helpers;
    const std::function<void(std::size_t)>* task = nullptr;
    std::size_t parts = 0;
    bool stop = false;
    // The fields above are written by the caller while all helpers are idle, and published by `round`.
    alignas(64) std::atomic<std::uint32_t> round = 0;
    alignas(64) std::atomic<std::size_t> next = 0;       // part to hand out
    alignas(64) std::atomic<std::uint32_t> working = 0;  // helpers not yet done with this round

    void take_parts() {
        for (std::size_t part = next.fetch_add(1, std::memory_order_relaxed); part < parts;
             part = next.fetch_add(1, std::memory_order_relaxed)) {
            (*task)(part);
        }
    }

    void help() {
        std::uint32_t seen = 0;
        while (true) {
            seen = wait_change(round, seen);
            if (stop) return;
            take_parts();
            if (working.fetch_sub(1, std::memory_order_acq_rel) == 1) working.notify_one();
        }
    }

    void start_round() {
        round.fetch_add(1, std::memory_order_release);
        round.notify_all();
    }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
    ATOLL_CHECK(threads >= 1);
    state_->threads = threads;
    for (int i = 1; i < threads; ++i) state_->helpers.emplace_back([state = state_.get()] { state->help(); });
}

ThreadPool::~ThreadPool() {
    state_->stop = true;
    state_->start_round();
    for (auto& helper : state_->helpers) helper.join();
}

int ThreadPool::threads() const { return state_->threads; }

void ThreadPool::run(std::size_t parts, const std::function<void(std::size_t part)>& task) {
    State& state = *state_;
    if (state.helpers.empty() || parts <= 1) {
        for (std::size_t part = 0; part < parts; ++part) task(part);
        return;
    }
    state.task = &task;
    state.parts = parts;
    state.next.store(0, std::memory_order_relaxed);
    state.working.store(static_cast<std::uint32_t>(state.helpers.size()), std::memory_order_relaxed);
    state.start_round();
    state.take_parts();
    std::uint32_t left = state.working.load(std::memory_order_acquire);
    while (left != 0) left = wait_change(state.working, left);
}

void ThreadPool::range(std::size_t size, std::size_t grain,
                       const std::function<void(std::size_t begin, std::size_t end)>& task) {
    const std::size_t grains = (size + grain - 1) / grain;
    const auto threads = static_cast<std::size_t>(state_->threads);
    const std::size_t pieces = std::min(threads, grains);
    if (pieces == 0) return;
    run(pieces, [&](std::size_t piece) {
        task(piece * grains / pieces * grain, std::min(size, (piece + 1) * grains / pieces * grain));
    });
}

}  // namespace Atoll::kernels

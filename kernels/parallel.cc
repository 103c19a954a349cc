#include "kernels/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
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

// The caller never waits for a helper that has not begun: whoever is awake takes the parts, and the round
// ends with the last part, not when every helper has looked in. On cores shared with other processes that is
// the difference between microseconds and time slices.
struct ThreadPool::State {
    int threads = 1;
    std::vector<std::thread> helpers;
    std::atomic<bool> stop = false;
    // Written by the caller between rounds. Who holds a part may read it: the round cannot end before the
    // part does.
    const std::function<void(std::size_t)>* task = nullptr;
    // Parts of this round in the upper half, the next one to hand out in the lower.
    alignas(64) std::atomic<std::uint64_t> ticket = 0;
    alignas(64) std::atomic<std::uint32_t> round = 0;
    alignas(64) std::atomic<std::uint32_t> done = 0;

    void take_parts() {
        std::uint64_t current = ticket.load(std::memory_order_acquire);
        while ((current & 0xFFFFFFFFU) < current >> 32U) {
            if (!ticket.compare_exchange_weak(current, current + 1, std::memory_order_acq_rel)) continue;
            (*task)(current & 0xFFFFFFFFU);
            if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == current >> 32U) done.notify_one();
            current = ticket.load(std::memory_order_acquire);
        }
    }

    void help() {
        std::uint32_t seen = 0;
        while (true) {
            seen = wait_change(round, seen);
            if (stop.load(std::memory_order_acquire)) return;
            take_parts();
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
    state_->stop.store(true, std::memory_order_release);
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
    ATOLL_CHECK(parts < 0xFFFFFFFFU);
    state.task = &task;
    state.done.store(0, std::memory_order_relaxed);
    state.ticket.store(static_cast<std::uint64_t>(parts) << 32U, std::memory_order_release);
    state.start_round();
    state.take_parts();
    std::uint32_t done = state.done.load(std::memory_order_acquire);
    while (done != parts) done = wait_change(state.done, done);
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

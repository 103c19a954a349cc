#include "tests/emulation/device.h"

#include <algorithm>
#include <array>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/rng.h"

namespace Atoll::emulation {

namespace {

namespace context = boost::context;

constexpr std::size_t kStackBytes = 64 * 1024;
constexpr std::size_t kGuardBytes = 256;
constexpr int kUnwritten = 0xFF;  // four of them are a NaN
constexpr int kGuard = 0xA5;

[[noreturn]] void violation(const std::string& what) {
    std::fprintf(stderr, "emulated device: %s\n", what.c_str());
    std::abort();
}

std::string name_of(const Thread& thread) {
    return "thread " + std::to_string(thread.rank) + " of block (" + std::to_string(thread.block.x) + ", " +
           std::to_string(thread.block.y) + ", " + std::to_string(thread.block.z) + ")";
}

enum class State { ready, at_block_barrier, at_warp_barrier, finished };

// A stack that runs one thread after another.
class Fiber {
  public:
    Fiber()
        : fiber_(std::allocator_arg, context::protected_fixedsize_stack(kStackBytes),
                 [this](context::fiber&& scheduler) {
                     scheduler_ = std::move(scheduler);
                     while (body != nullptr) {
                         (*body)();
                         state = State::finished;
                         yield();
                     }
                     return std::move(scheduler_);
                 }) {}
    ~Fiber() {
        body = nullptr;
        if (fiber_) fiber_ = std::move(fiber_).resume();
    }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    void resume() { fiber_ = std::move(fiber_).resume(); }
    void yield() { scheduler_ = std::move(scheduler_).resume(); }

    Thread thread;
    State state = State::finished;
    std::uint32_t waits_for = 0;  // lanes, at a warp barrier
    unsigned exchanges = 0;       // done by this thread
    const std::function<void()>* body = nullptr;

  private:
    context::fiber scheduler_;
    context::fiber fiber_;
};

// Two slots a lane: a lane that writes its second value has seen all others take part in the first.
struct Warp {
    std::array<std::array<std::array<std::byte, 16>, kWarp>, 2> slots;
};

class Device {
  public:
    void run(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body) {
        const std::size_t threads = std::size_t{block.x} * block.y * block.z;
        const std::size_t blocks = std::size_t{grid.x} * grid.y * grid.z;
        if (threads == 0 || threads > 1024) violation("a block of " + std::to_string(threads) + " threads");
        if (shared_bytes > kSharedBytesMax) {
            violation(std::to_string(shared_bytes) + " bytes of shared memory in a block");
        }
        while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>());
        warps_.resize((threads + kWarp - 1) / kWarp);
        threads_ = threads;
        arrange(block_order_, blocks);
        for (const std::size_t rank : block_order_) {
            const auto index = static_cast<unsigned>(rank);
            run_block({index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y}, grid, block,
                      shared_bytes, body);
        }
    }

    [[nodiscard]] Fiber& running() { return *fibers_[running_]; }
    [[nodiscard]] std::byte* shared() { return shared_.data(); }
    void seed(std::uint64_t value) {
        seed_ = value;
        drawn_ = 0;
    }

    void block_barrier() {
        running().state = State::at_block_barrier;
        running().yield();
    }
    void warp_barrier(std::uint32_t mask) {
        Fiber& fiber = running();
        if ((mask >> (fiber.thread.rank % kWarp) & 1U) == 0) {
            violation(name_of(fiber.thread) + " is not in the mask of its own warp barrier");
        }
        fiber.state = State::at_warp_barrier;
        fiber.waits_for = mask;
        if (!release_warp(fiber)) fiber.yield();
    }
    void exchange(std::uint32_t mask, const void* given, void* read, unsigned source, std::size_t bytes) {
        Fiber& fiber = running();
        const unsigned lane = fiber.thread.rank % kWarp;
        auto& slots = warps_[fiber.thread.rank / kWarp].slots[fiber.exchanges++ % 2];
        std::memcpy(slots[lane].data(), given, bytes);
        warp_barrier(mask);
        const bool there = source < kWarp && (mask >> source & 1U) != 0;
        std::memcpy(read, slots[there ? source : lane].data(), bytes);
    }

  private:
    void run_block(uint3 index, dim3 grid, dim3 block, std::size_t shared_bytes,
                   const std::function<void()>& body) {
        std::memset(shared_.data(), kUnwritten, shared_bytes);
        std::memset(shared_.data() + shared_bytes, kGuard, kGuardBytes);
        for (std::size_t i = 0; i < threads_; ++i) {
            const auto rank = static_cast<unsigned>(i);
            Fiber& fiber = *fibers_[i];
            fiber.thread = {{rank % block.x, rank / block.x % block.y, rank / block.x / block.y},
                            index,
                            block,
                            grid,
                            rank};
            fiber.state = State::ready;
            fiber.exchanges = 0;
            fiber.body = &body;
        }
        while (pass()) {
        }
        for (std::size_t i = 0; i < kGuardBytes; ++i) {
            if (shared_[shared_bytes + i] != static_cast<std::byte>(kGuard)) {
                violation("a block wrote " + std::to_string(i) + " bytes behind its shared memory");
            }
        }
    }

    // Lets every thread run that can. False once all are finished.
    bool pass() {
        bool progress = false;
        arrange(thread_order_, threads_);
        for (const std::size_t i : thread_order_) {
            if (fibers_[i]->state != State::ready) continue;
            running_ = i;
            fibers_[i]->resume();
            progress = true;
        }
        if (progress) return true;
        std::size_t at_barrier = 0, finished = 0;
        for (std::size_t i = 0; i < threads_; ++i) {
            at_barrier += fibers_[i]->state == State::at_block_barrier ? 1 : 0;
            finished += fibers_[i]->state == State::finished ? 1 : 0;
        }
        if (finished == threads_) return false;
        if (at_barrier != threads_) report_stuck();
        for (std::size_t i = 0; i < threads_; ++i) fibers_[i]->state = State::ready;
        return true;
    }

    [[noreturn]] void report_stuck() {
        for (std::size_t i = 0; i < threads_; ++i) {
            if (fibers_[i]->state == State::at_warp_barrier) {
                violation(name_of(fibers_[i]->thread) + " waits for lanes of its warp that do not come");
            }
        }
        for (std::size_t i = 0; i < threads_; ++i) {
            if (fibers_[i]->state == State::finished) {
                violation(name_of(fibers_[i]->thread) + " has ended without a barrier that others wait at");
            }
        }
        violation("no thread can go on");
    }

    // Lets the lanes that `last` waits for go on, if all of them wait for the same.
    bool release_warp(Fiber& last) {
        const std::size_t first = last.thread.rank / kWarp * kWarp;
        const std::uint32_t mask = last.waits_for;
        for (unsigned lane = 0; lane < kWarp; ++lane) {
            if ((mask >> lane & 1U) == 0) continue;
            if (first + lane >= threads_)
                violation("a warp barrier names lanes that the block does not have");
            const Fiber& fiber = *fibers_[first + lane];
            if (fiber.state != State::at_warp_barrier || fiber.waits_for != mask) return false;
        }
        for (unsigned lane = 0; lane < kWarp; ++lane) {
            if ((mask >> lane & 1U) != 0) fibers_[first + lane]->state = State::ready;
        }
        return true;
    }

    // 0..count-1 in the order of the schedule.
    void arrange(std::vector<std::size_t>& order, std::size_t count) {
        order.resize(count);
        std::iota(order.begin(), order.end(), std::size_t{0});
        if (seed_ == 0) return;
        for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[mix64(seed_ + ++drawn_) % i]);
    }

    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<Warp> warps_;
    std::vector<std::byte> shared_ = std::vector<std::byte>(kSharedBytesMax + kGuardBytes);
    std::vector<std::size_t> block_order_, thread_order_;
    std::size_t threads_ = 0;
    std::size_t running_ = 0;
    std::uint64_t seed_ = 0;
    std::uint64_t drawn_ = 0;
};

Device& device() {
    static Device only;
    return only;
}

// Before each allocation's guard: what release() must know.
struct alignas(kGuardBytes) Header {
    std::size_t bytes = 0;
};

std::size_t& total_bytes() {
    static std::size_t total = 0;
    return total;
}

}  // namespace

const Thread& current() { return device().running().thread; }
std::byte* shared_memory() { return device().shared(); }
void block_barrier() { device().block_barrier(); }
void warp_barrier(std::uint32_t mask) { device().warp_barrier(mask); }
void warp_exchange(std::uint32_t mask, const void* given, void* read, unsigned source, std::size_t bytes) {
    device().exchange(mask, given, read, source, bytes);
}
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body) {
    device().run(grid, block, shared_bytes, body);
}
void schedule(std::uint64_t seed) { device().seed(seed); }

void* allocate(std::size_t bytes) {
    const std::size_t rounded = (bytes + kGuardBytes - 1) / kGuardBytes * kGuardBytes;
    auto* const base = static_cast<std::byte*>(
        std::aligned_alloc(kGuardBytes, sizeof(Header) + kGuardBytes + rounded + kGuardBytes));
    if (base == nullptr) return nullptr;
    ::new (base) Header{bytes};
    std::byte* const memory = base + sizeof(Header) + kGuardBytes;
    std::memset(memory - kGuardBytes, kGuard, kGuardBytes);
    std::memset(memory, kUnwritten, bytes);
    std::memset(memory + bytes, kGuard, rounded - bytes + kGuardBytes);
    total_bytes() += bytes;
    return memory;
}

void release(void* memory) {
    auto* const bytes = static_cast<std::byte*>(memory);
    auto* const base = bytes - kGuardBytes - sizeof(Header);
    const std::size_t size = reinterpret_cast<const Header*>(base)->bytes;
    for (std::size_t i = 0; i < kGuardBytes; ++i) {
        if (bytes[size + i] != static_cast<std::byte>(kGuard) ||
            *(bytes - 1 - i) != static_cast<std::byte>(kGuard)) {
            violation("device memory of " + std::to_string(size) + " bytes was written " + std::to_string(i) +
                      " bytes outside");
        }
    }
    total_bytes() -= size;
    std::free(base);
}

std::size_t allocated_bytes() { return total_bytes(); }

}  // namespace Atoll::emulation

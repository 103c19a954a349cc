#include "node/network/buffer_pool.h"

#include <sys/mman.h>

#include <map>
#include <mutex>

namespace Atoll::node {

namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20U;

// Sizes are rounded so that payloads of nearly the same length share buffers.
std::size_t round_up(std::size_t size) {
    const std::size_t grain = size >= kHugePageBytes ? kHugePageBytes : std::size_t{64} << 10U;
    return (size + grain - 1) / grain * grain;
}

std::byte* map(std::size_t size) {
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    if (size >= kHugePageBytes) madvise(memory, size, MADV_HUGEPAGE);
    return static_cast<std::byte*>(memory);
}

}  // namespace

struct BufferPool::State {
    explicit State(std::uint64_t max) : bytes_max(max) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() {
        for (const auto& [size, bytes] : free) munmap(bytes, size);
    }
    void give_back(std::byte* bytes, std::size_t size) {
        const std::lock_guard lock(mutex);
        lent -= size;
        if (kept + size > bytes_max) {
            munmap(bytes, size);
        } else {
            kept += size;
            free.emplace(size, bytes);
        }
    }

    std::uint64_t bytes_max;
    std::mutex mutex;  // guards all below
    std::uint64_t lent = 0;
    std::uint64_t kept = 0;
    std::multimap<std::size_t, std::byte*> free;
};

BufferPool::BufferPool(std::uint64_t bytes_max) : state_(std::make_shared<State>(bytes_max)) {}

BufferPool::Buffer BufferPool::lend(std::size_t size) {
    std::size_t capacity = round_up(size);
    const std::lock_guard lock(state_->mutex);
    if (state_->lent + capacity > state_->bytes_max) return {};
    std::byte* bytes = nullptr;
    // A kept buffer serves if it is not more than twice too large.
    if (const auto it = state_->free.lower_bound(capacity); it != state_->free.end() &&
                                                            it->first <= 2 * capacity &&
                                                            state_->lent + it->first <= state_->bytes_max) {
        capacity = it->first;
        bytes = it->second;
        state_->free.erase(it);
        state_->kept -= capacity;
    } else {
        bytes = map(capacity);
        if (bytes == nullptr) return {};
    }
    state_->lent += capacity;
    return {std::shared_ptr<std::byte>(
                bytes, [state = state_, capacity](std::byte* p) { state->give_back(p, capacity); }),
            size};
}

std::uint64_t BufferPool::lent_bytes() const {
    const std::lock_guard lock(state_->mutex);
    return state_->lent;
}

}  // namespace Atoll::node

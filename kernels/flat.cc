#include "kernels/flat.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <utility>

#include "base/check.h"

namespace Atoll::kernels {

namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20U;

std::size_t mapped_bytes(std::size_t floats) {
    const std::size_t bytes = floats * sizeof(float);
    // Small buffers keep to small pages: a huge page for each would waste memory.
    const std::size_t page = bytes >= kHugePageBytes ? kHugePageBytes : 4096;
    return (bytes + page - 1) / page * page;
}

// One for the process, set before training begins by whoever chose the device (kernels/device.cc).
PageSource& page_source() {
    static PageSource source;
    return source;
}

}  // namespace

void set_page_source(const PageSource& source) { page_source() = source; }

std::size_t Layout::add(std::string name, std::vector<std::int64_t> shape) {
    std::size_t count = 1;
    for (const std::int64_t dimension : shape) {
        ATOLL_CHECK(dimension > 0);
        count *= static_cast<std::size_t>(dimension);
    }
    slots_.push_back({std::move(name), std::move(shape), size_, count});
    if (runs_.empty() || runs_.back().offset + runs_.back().size != size_) runs_.push_back({size_, 0});
    runs_.back().size += count;
    size_ += (count + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
    parameters_ += count;
    return slots_.size() - 1;
}

const TensorSlot* Layout::find(std::string_view name) const {
    const auto it =
        std::find_if(slots_.begin(), slots_.end(), [&](const TensorSlot& slot) { return slot.name == name; });
    return it == slots_.end() ? nullptr : &*it;
}

std::string Layout::signature() const {
    std::string text;
    for (const auto& slot : slots_) {
        text += slot.name;
        for (const std::int64_t dimension : slot.shape) text += ' ' + std::to_string(dimension);
        text += '\n';
    }
    return text;
}

FlatBuffer::FlatBuffer(std::size_t size) : size_(size) {
    if (size == 0) return;
    if (page_source().allocate != nullptr) {
        data_ = static_cast<float*>(page_source().allocate(size * sizeof(float)));
        release_ = page_source().release;
        if (data_ == nullptr) throw std::bad_alloc();
        return;
    }
    const std::size_t bytes = mapped_bytes(size);
    // Over-allocate by one huge page and trim, so that the buffer starts on a huge-page boundary.
    const std::size_t slack = bytes >= kHugePageBytes ? kHugePageBytes : 0;
    void* base = ::mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) throw std::bad_alloc();
    auto address = reinterpret_cast<std::uintptr_t>(base);
    if (slack != 0) {
        const std::uintptr_t aligned = (address + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
        if (aligned > address) ::munmap(base, aligned - address);
        const std::uintptr_t end = address + bytes + slack;
        if (end > aligned + bytes) ::munmap(reinterpret_cast<void*>(aligned + bytes), end - aligned - bytes);
        address = aligned;
        ::madvise(reinterpret_cast<void*>(address), bytes, MADV_HUGEPAGE);
    }
    data_ = reinterpret_cast<float*>(address);
    for (std::size_t i = 0; i < size; i += 1024) data_[i] = 0.0F;
}

FlatBuffer::FlatBuffer(FlatBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      release_(std::exchange(other.release_, nullptr)) {}

FlatBuffer& FlatBuffer::operator=(FlatBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(release_, other.release_);
    return *this;
}

FlatBuffer::~FlatBuffer() {
    if (data_ == nullptr) return;
    if (release_ != nullptr) {
        release_(data_);
    } else {
        ::munmap(data_, mapped_bytes(size_));
    }
}

}  // namespace Atoll::kernels

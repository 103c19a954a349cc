// Byte buffers: owned, borrowed, and shared without copying.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace Atoll {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

[[nodiscard]] inline ByteView as_byte_view(std::string_view text) {
    return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

// Immutable bytes with shared ownership: the sending thread, the socket's I/O thread and a retry may all hold
// the same payload, and the last one to let go frees (or recycles) it.
class SharedBytes {
  public:
    SharedBytes() = default;
    explicit SharedBytes(Bytes bytes)
        : owner_(std::make_shared<Bytes>(std::move(bytes))),
          view_(*std::static_pointer_cast<const Bytes>(owner_)) {}
    // `owner` keeps `view` alive.
    SharedBytes(std::shared_ptr<const void> owner, ByteView view) : owner_(std::move(owner)), view_(view) {}

    [[nodiscard]] ByteView view() const { return view_; }
    [[nodiscard]] std::size_t size() const { return view_.size(); }
    [[nodiscard]] bool empty() const { return view_.empty(); }
    [[nodiscard]] const std::byte* data() const { return view_.data(); }
    // A part of the same bytes, sharing ownership. Precondition: offset + count <= size().
    [[nodiscard]] SharedBytes slice(std::size_t offset, std::size_t count) const {
        return {owner_, view_.subspan(offset, count)};
    }

  private:
    std::shared_ptr<const void> owner_;
    ByteView view_;
};

// Lower-case hexadecimal.
[[nodiscard]] std::string to_hex(ByteView bytes);
// Errors: odd length, a character that is not hexadecimal.
[[nodiscard]] Result<Bytes> from_hex(std::string_view text);

}  // namespace Atoll

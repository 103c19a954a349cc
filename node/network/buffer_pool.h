// Memory for incoming payloads: recycled, because the first touch of fresh pages costs more than decrypting
// what goes in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/bytes.h"

namespace Atoll::node {

// Thread-safe. Buffers may outlive the pool.
class BufferPool {
  public:
    // At most `bytes_max` are lent at any time; as much again may be kept for reuse.
    explicit BufferPool(std::uint64_t bytes_max);

    struct Buffer {
        std::shared_ptr<std::byte> bytes;  // returns to the pool when the last owner lets go
        std::size_t size = 0;
        // The whole buffer as an immutable payload.
        [[nodiscard]] SharedBytes share() const { return {bytes, ByteView(bytes.get(), size)}; }
    };
    // Null bytes if the limit would be exceeded. Precondition: size > 0.
    [[nodiscard]] Buffer lend(std::size_t size);
    [[nodiscard]] std::uint64_t lent_bytes() const;

  private:
    struct State;
    std::shared_ptr<State> state_;  // shared with the buffers that are out
};

}  // namespace Atoll::node

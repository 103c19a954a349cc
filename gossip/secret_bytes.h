// Bytes that must not leak: in guarded, locked memory that is never swapped or dumped, wiped when released.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/bytes.h"

namespace Atoll::gossip {

// Idempotent and thread-safe; every entry point into libsodium's keys and random numbers goes through it.
void initialise_crypto();

class SecretBytes {
  public:
    explicit SecretBytes(std::size_t size);
    SecretBytes(SecretBytes&&) noexcept = default;
    SecretBytes& operator=(SecretBytes&&) noexcept = default;

    [[nodiscard]] std::span<std::byte> bytes() { return {data_.get(), size_}; }
    [[nodiscard]] ByteView view() const { return {data_.get(), size_}; }
    [[nodiscard]] std::size_t size() const { return size_; }

  private:
    struct Free {
        void operator()(std::byte* data) const;
    };
    std::unique_ptr<std::byte[], Free> data_;
    std::size_t size_;
};

}  // namespace Atoll::gossip

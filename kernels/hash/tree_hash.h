// The hash that binds a payload to its signed header: BLAKE3 (the published function, so that `b3sum` says
// the same). Its chunks of 1 KiB are independent, so one core hashes as many at once as its vectors have
// 32-bit lanes (8 on AVX2): with a serial hash the encryption of the link would wait for the hash.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"

namespace Atoll::kernels {

[[nodiscard]] Hash tree_hash(ByteView bytes);

// The same hash, taken while the payload is still arriving: advance() hashes the subtrees that have become
// complete.
class TreeHash {
  public:
    // What is hashed at a time: a whole subtree of BLAKE3's.
    static constexpr std::size_t kSubtreeBytes = std::size_t{128} << 10U;
    using ChainingValue = std::array<std::uint32_t, 8>;

    explicit TreeHash(ByteView payload) : payload_(payload) {}
    // The first `available` bytes of the payload are there. Never decreases.
    void advance(std::size_t available);
    // Precondition: advance(payload size) was called.
    [[nodiscard]] Hash finish() const;

  private:
    ByteView payload_;
    std::size_t subtrees_ = 0;             // hashed so far; the last of the payload is left to finish()
    std::vector<ChainingValue> complete_;  // of complete subtrees of falling size, as the bits of subtrees_
};

}  // namespace Atoll::kernels

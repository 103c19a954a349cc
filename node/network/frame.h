// The frames between two nodes (docs/reference/wire.md): every ZeroMQ message is a head of fixed size and one
// data part. Payloads travel as chunks with the signed envelope behind them, so that hashing overlaps
// sending.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "gossip/limits.h"

namespace Atoll::node {

using gossip::kChunkBytes;  // larger ZeroMQ frames fall off a cliff
using gossip::kFrameBytesMax;
inline constexpr std::uint8_t kFrameVersion = 1;

enum class FrameKind : std::uint8_t {
    hello = 1,    // data: the lane (one byte); keeps the way back known and proves that the peer is there
    message = 2,  // data: envelope of a message without payload
    chunk = 3,    // data: chunk `index` of a payload of `total` bytes
    end = 4,      // data: envelope of the payload whose chunks came before
};

struct FrameHead {
    FrameKind kind = FrameKind::hello;
    std::uint32_t transfer = 0;  // number of the payload on this connection
    std::uint32_t index = 0;
    std::uint64_t total = 0;
};

inline constexpr std::size_t kFrameHeadBytes =
    24;  // version, kind, 2 zero, transfer, index, 4 zero, total: little-endian

void write_frame_head(const FrameHead& head, std::byte* out);
// Nothing for a wrong length, version or kind.
[[nodiscard]] std::optional<FrameHead> read_frame_head(ByteView bytes);

// Bytes of chunk `index` of a payload of `total` bytes; 0 past its end.
[[nodiscard]] std::size_t chunk_size(std::uint64_t total, std::uint32_t index);

}  // namespace Atoll::node

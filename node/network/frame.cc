#include "node/network/frame.h"

#include <algorithm>
#include <cstring>

namespace Atoll::node {

void write_frame_head(const FrameHead& head, std::byte* out) {
    std::memset(out, 0, kFrameHeadBytes);
    out[0] = std::byte{kFrameVersion};
    out[1] = static_cast<std::byte>(head.kind);
    std::memcpy(out + 4, &head.transfer, 4);
    std::memcpy(out + 8, &head.index, 4);
    std::memcpy(out + 16, &head.total, 8);
}

std::optional<FrameHead> read_frame_head(ByteView bytes) {
    if (bytes.size() != kFrameHeadBytes || bytes[0] != std::byte{kFrameVersion}) return std::nullopt;
    const auto kind = static_cast<std::uint8_t>(bytes[1]);
    if (kind < static_cast<std::uint8_t>(FrameKind::hello) ||
        kind > static_cast<std::uint8_t>(FrameKind::end)) {
        return std::nullopt;
    }
    FrameHead head;
    head.kind = static_cast<FrameKind>(kind);
    std::memcpy(&head.transfer, bytes.data() + 4, 4);
    std::memcpy(&head.index, bytes.data() + 8, 4);
    std::memcpy(&head.total, bytes.data() + 16, 8);
    return head;
}

std::size_t chunk_size(std::uint64_t total, std::uint32_t index) {
    const std::uint64_t begin = std::uint64_t{index} * kChunkBytes;
    return begin >= total ? 0 : static_cast<std::size_t>(std::min<std::uint64_t>(kChunkBytes, total - begin));
}

}  // namespace Atoll::node

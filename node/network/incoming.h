// Payloads on their way in: chunks of each connection put together in order, and hashed on another thread as
// they come.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "gossip/peer_id.h"
#include "kernels/hash/tree_hash.h"
#include "node/network/buffer_pool.h"
#include "node/network/frame.h"

namespace Atoll::node {

// One payload. The socket thread fills it; the hashing thread follows behind what it was told is there.
struct Arrival {
    Arrival(BufferPool::Buffer lent, std::uint32_t number)
        : buffer(std::move(lent)), transfer(number), hash(ByteView(buffer.bytes.get(), buffer.size)) {}
    BufferPool::Buffer buffer;
    std::uint32_t transfer;
    std::uint32_t next_index = 0;
    std::size_t received = 0;  // socket thread
    double touched = 0;        // socket thread: when its last chunk came
    kernels::TreeHash hash;    // hashing thread
};

// Belongs to the socket thread.
class Incoming {
  public:
    Incoming(std::uint64_t payload_bytes_max, BufferPool& pool)
        : payload_bytes_max_(payload_bytes_max), pool_(pool) {}

    // A connection of a peer: chunks keep their order on one, not across. Between two peers there may be two
    // (each dialled the other), and a sender may change over after a payload.
    struct Source {
        gossip::PeerId peer;
        std::string connection;  // routing id, or empty for the one we dialled
        auto operator<=>(const Source&) const = default;
    };

    // Puts one chunk in its place. Null if it does not belong there; then `problem` says why, once for a
    // payload: it is empty for the rest of a payload that was given up before.
    [[nodiscard]] std::shared_ptr<Arrival> chunk(const Source& from, const FrameHead& head, ByteView data,
                                                 double now, std::string& problem);
    // The complete payload whose envelope has come; null as above.
    [[nodiscard]] std::shared_ptr<Arrival> end(const Source& from, const FrameHead& head,
                                               std::string& problem);
    void forget(const Source& from) { arrivals_.erase(from); }

    static constexpr double kUnfinishedSeconds = 120;  // without a chunk: its connection is gone
    static constexpr int kUnfinishedPerPeerMax = 4;

  private:
    std::uint64_t payload_bytes_max_;
    BufferPool& pool_;
    void make_room(const Source& from, double now);

    std::map<Source, std::shared_ptr<Arrival>> arrivals_;
};

}  // namespace Atoll::node

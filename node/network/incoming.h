// Payloads on their way in: chunks of each peer put together in order, and hashed on another thread as they
// come.
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
    kernels::TreeHash hash;    // hashing thread
};

// Belongs to the socket thread.
class Incoming {
  public:
    Incoming(std::uint64_t payload_bytes_max, BufferPool& pool)
        : payload_bytes_max_(payload_bytes_max), pool_(pool) {}

    // Puts one chunk in its place. Null if it does not belong there; then `problem` says why, once for a
    // payload: it is empty for the rest of a payload that was given up before.
    [[nodiscard]] std::shared_ptr<Arrival> chunk(const gossip::PeerId& from, const FrameHead& head,
                                                 ByteView data, std::string& problem);
    // The complete payload whose envelope has come; null as above.
    [[nodiscard]] std::shared_ptr<Arrival> end(const gossip::PeerId& from, const FrameHead& head,
                                               std::string& problem);
    void forget(const gossip::PeerId& peer) { arrivals_.erase(peer); }

  private:
    std::uint64_t payload_bytes_max_;
    BufferPool& pool_;
    std::map<gossip::PeerId, std::shared_ptr<Arrival>>
        arrivals_;  // one a peer: its bulk lane is one ordered stream
};

}  // namespace Atoll::node

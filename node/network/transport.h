// Moves envelopes and payloads between nodes over ZeroMQ. Knows bytes and peers, no message: what an envelope
// says, and whether it is signed well, is its handler's business.
//
// Every node binds one ROUTER and dials each peer with two DEALERs, one for envelopes without payload and one
// for bulk, so that a heartbeat never waits behind a tensor. A peer that cannot be dialled (no address) is
// answered over the connections it dialled itself. CURVE proves who is at either end; strangers fail at the
// handshake (node/network/zap.h).
//
// Threads: one owns every socket and never blocks; one hashes what goes out, one what comes in. A payload is
// sent and hashed at the same time, its signed envelope behind it; the receiver hashes while it arrives.
//
// Memory: at most `inbound_bytes_max` of payloads arriving or waiting to be read, and for each connection
// kBulkHighWater chunks inside ZeroMQ on each side. Outgoing payloads are shared, not copied.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/result.h"
#include "gossip/identity.h"
#include "gossip/peer_id.h"
#include "node/network/zap.h"

namespace Atoll::node {

struct TransportOptions {
    std::string listen = "127.0.0.1:0";  // where to bind: [tcp://]host:port, port 0 = any free one
    std::uint64_t payload_bytes_max = std::uint64_t{4} << 30U;
    std::uint64_t inbound_bytes_max = std::uint64_t{16} << 30U;
    std::size_t queued_messages_max = 1024;  // to one peer, without payload
    std::size_t queued_payloads_max = 64;    // to one peer
    double silence_seconds = 15;             // a peer not heard of for so long counts as not connected
    // Whose key to present when dialling: an invite's token, while the node itself is no member yet. Outlives
    // the transport.
    const gossip::Identity* dial_as = nullptr;
    // Neither encrypts, authenticates nor hashes: for measuring what those cost. No configuration reaches it.
    bool plain_for_benchmarks = false;
};

class Transport {
  public:
    // Called on the transport's threads; must not block.
    class Handler {
      public:
        virtual ~Handler() = default;
        // `from` is proven by the connection. `payload_hash` is kernels::tree_hash(payload) as computed on
        // arrival.
        virtual void on_message(const gossip::PeerId& from, ByteView envelope, SharedBytes payload,
                                const Hash& payload_hash) = 0;
        // From the holder of an invite, whom the gate admitted as `user`. `answerable` lets send() reach the
        // guest who signed the envelope over the same connection.
        virtual void on_guest(const std::string& user, ByteView envelope,
                              const std::function<void(const gossip::PeerId&)>& answerable) = 0;
    };
    // Makes the envelope once the payload's hash is known; called at most once, on any thread.
    using Seal = std::function<Bytes(const Hash& payload_hash)>;

    // Binds and starts. Errors: invalid (bad address), failed (port in use). `handler` and `gate` outlive the
    // transport.
    [[nodiscard]] static Result<std::unique_ptr<Transport>> start(const gossip::Identity& identity,
                                                                  const TransportOptions& options,
                                                                  Handler& handler, Gate& gate);
    // Sends what is queued without payload for up to a second, then closes.
    ~Transport();
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;

    // Where it is bound, the port filled in: "tcp://127.0.0.1:40123".
    [[nodiscard]] const std::string& bound_address() const;

    // Lets a peer in and, if `address` is not empty, keeps a connection to it. Replaces an earlier address.
    [[nodiscard]] Status connect(const gossip::PeerId& peer, const std::string& address);
    void disconnect(const gossip::PeerId& peer);
    // Something was heard from the peer lately.
    [[nodiscard]] bool connected(const gossip::PeerId& peer) const;

    // Errors: refused (not a peer, payload too large), unavailable (not connected, queue full).
    [[nodiscard]] Status send(const gossip::PeerId& to, Seal seal, SharedBytes payload);

    struct Counts {
        std::uint64_t bytes_sent = 0;  // heads, chunks, envelopes
        std::uint64_t bytes_received = 0;
        std::uint64_t messages_lost = 0;  // malformed, out of order or beyond a limit
    };
    [[nodiscard]] Counts counts() const;

  private:
    class Impl;
    explicit Transport(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// What User-Id the gate gives a member.
[[nodiscard]] std::string member_user(const gossip::PeerId& peer);
[[nodiscard]] std::optional<gossip::PeerId> peer_of_user(std::string_view user);

}  // namespace Atoll::node

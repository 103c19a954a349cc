// The connections to one peer, as the socket thread sees them. Included by .cc files only.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "gossip/peer_id.h"
#include "node/network/sockets.h"

namespace Atoll::node {

enum class Lane : std::uint8_t { control = 0, bulk = 1 };
inline constexpr std::size_t kLanes = 2;

// A payload on its way out. The hashing thread fills in the envelope while the socket thread sends the
// chunks.
struct Departure {
    explicit Departure(SharedBytes bytes) : payload(std::move(bytes)) {}
    SharedBytes payload;
    Bytes envelope;  // valid once sealed
    std::atomic<bool> sealed{false};
};

class Link {
  public:
    // Dials if `address` is not empty. `context`, `router` (the way back to a peer that dialled us) and
    // `identity` outlive the link. Errors: zmq::error_t for an address that is none.
    Link(zmq::context_t& context, zmq::socket_t& router, const gossip::Identity& identity,
         const gossip::CurveKey& key, std::string address, bool plain);

    // Nullptr if the peer isn't dialled.
    [[nodiscard]] zmq::socket_t* dialled(Lane lane);
    // Something came from the peer, over the connection it dialled on `lane` (then `route` is its routing id)
    // or over ours.
    void heard(Lane lane, const std::string& route, double now);
    // Says hello where it is due, and dials again where nobody answers: ZeroMQ gives a connection up for good
    // when its handshake is refused, as it is by a peer that has not heard of us yet.
    void greet(double now);

    enum class Sent { yes, not_now, failed };
    [[nodiscard]] Sent send_message(ByteView envelope);
    // The next chunk or the envelope of `departure`; sets `done` after the last.
    [[nodiscard]] Sent send_next(Departure& departure, bool& done);
    // Begins another payload: the next send_next() starts at its first chunk.
    void next_departure();
    // Whether send_next() has something to send, and whether to wait for ZeroMQ or merely try again soon.
    [[nodiscard]] bool wants_bulk(const Departure& departure) const;
    [[nodiscard]] bool bulk_is_dialled() const;

    [[nodiscard]] std::uint64_t bytes_sent() const { return bytes_sent_; }

  private:
    struct Way {  // to the peer, for one lane
        std::optional<zmq::socket_t> dealer;
        double dealer_heard = -1e9;
        double dialled = 0;
        double next_hello = 0;
        std::string route;  // on the router, empty: the peer has not dialled us
        double route_heard = -1e9;
        bool on_dealer = true;  // which of the two is used, where there are both
    };
    [[nodiscard]] Sent send(Lane lane, const FrameHead& head, zmq::message_t data);
    [[nodiscard]] static bool uses_dealer(const Way& way);
    static void choose(Way& way);
    void dial(Lane lane);

    zmq::context_t& context_;
    zmq::socket_t& router_;
    const gossip::Identity& identity_;
    const gossip::CurveKey key_;
    const std::string address_;
    const bool plain_;
    Way ways_[kLanes];
    std::uint32_t transfer_ = 0;
    std::uint32_t next_index_ = 0;
    std::uint64_t bytes_sent_ = 0;
};

// In plain mode nothing proves who a peer is; its routing id says it.
[[nodiscard]] std::string plain_routing_id(const gossip::PeerId& peer, Lane lane);
[[nodiscard]] std::optional<gossip::PeerId> peer_of_plain_routing_id(const std::string& id);

}  // namespace Atoll::node

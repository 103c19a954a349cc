// Host: the one interface between the algorithms and the world. The network host (node/) and the simulated
// host (sims/) implement it; code in gossip/ and federation/ reads no clock, starts no thread and opens no
// socket itself.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "gossip/message.h"
#include "gossip/peer_id.h"

namespace Atoll::gossip {

// A concurrent activity; the destructor waits for it to return.
class Activity {
  public:
    virtual ~Activity() = default;
    // Waits for it to return. A simulated machine may be switched off meanwhile, which ends the waiting
    // activity too, and a destructor cannot be left that way: wait here first wherever the wait is part of
    // the work.
    virtual void join() = 0;
};

class Host {
  public:
    virtual ~Host() = default;

    [[nodiscard]] virtual PeerId self() const = 0;
    // Seconds since an arbitrary origin, never going back (virtual time in simulation).
    [[nodiscard]] virtual double now() const = 0;
    // Seconds since 1970, for expiry dates only.
    [[nodiscard]] virtual double unix_time() const = 0;
    // Returns early once stopping().
    virtual void sleep(double seconds) = 0;
    // The node is shutting down: activities return, receive() returns nothing at once.
    [[nodiscard]] virtual bool stopping() const = 0;

    [[nodiscard]] virtual std::unique_ptr<Activity> spawn(std::string name, std::function<void()> body) = 0;

    // Says where a peer can be reached, and that it is allowed; the host keeps trying to connect. Replaces an
    // earlier address of the same peer.
    virtual void connect(const PeerId& peer, const std::string& address) = 0;
    virtual void disconnect(const PeerId& peer) = 0;

    // Hands a message over for delivery, without waiting for it to arrive; to self() it goes to the own
    // mailbox. Thread-safe. Errors: refused (unknown peer, too large), unavailable (not connected, queue
    // full): then nothing was sent. Success promises nothing about arrival: what must arrive is acknowledged
    // by its protocol.
    [[nodiscard]] virtual Status send(const PeerId& to, Body body, SharedBytes payload = {}) = 0;

    // The next message of a topic, in order of arrival; nothing at the deadline (host time) or once
    // stopping(). At most one activity receives on a topic.
    [[nodiscard]] virtual std::optional<Message> receive(Topic topic, double deadline) = 0;

    struct Traffic {
        std::uint64_t bytes_sent = 0;  // bodies and payloads, as they go over the wire
        std::uint64_t bytes_received = 0;
        std::uint64_t messages_lost = 0;  // refused, undeliverable or dropped, as far as the host knows
    };
    [[nodiscard]] virtual Traffic traffic() const = 0;
};

}  // namespace Atoll::gossip

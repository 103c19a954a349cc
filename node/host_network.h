// The network host: gossip::Host on a real clock, threads, and ZeroMQ connections secured by CURVE.
//
// A message that reaches a mailbox has passed, in this order: the gate (the CURVE key of its connection is a
// member's), frame limits, the envelope's checks (gossip/wire.h: signature, run, sender is who the connection
// proves), the replay window, and the hash of its payload. Whatever fails is counted, logged with the peer's
// name, and dropped.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "gossip/host.h"
#include "gossip/identity.h"
#include "gossip/replay_window.h"
#include "gossip/wire.h"
#include "node/network/transport.h"

namespace Atoll::node {

struct NetworkOptions {
    Hash run{};
    // Number of this start, above those of all earlier ones (Home::next_incarnation): about its Unix time.
    std::uint64_t incarnation = 0;
    TransportOptions transport;
};

class HostNetwork : public gossip::Host, private Transport::Handler {
  public:
    // Errors: invalid (bad address), failed (port in use). `identity` outlives the host.
    [[nodiscard]] static Result<std::unique_ptr<HostNetwork>> start(const gossip::Identity& identity,
                                                                    NetworkOptions options);
    // Precondition: every activity has been joined.
    ~HostNetwork() override;

    // From now on every receive() and sleep() returns at once; what is queued still leaves until destruction.
    void stop();
    [[nodiscard]] const std::string& bound_address() const { return transport_->bound_address(); }
    [[nodiscard]] bool connected(const gossip::PeerId& peer) const { return transport_->connected(peer); }
    [[nodiscard]] std::uint64_t incarnation() const { return options_.incarnation; }
    // Who may connect beside the peers: holders of invites.
    [[nodiscard]] Gate& gate() { return gate_; }
    // Messages refused so far, by reason.
    [[nodiscard]] std::map<std::string, std::uint64_t> refusals() const;

    [[nodiscard]] gossip::PeerId self() const override { return identity_.id(); }
    [[nodiscard]] double now() const override;
    [[nodiscard]] double unix_time() const override;
    void sleep(double seconds) override;
    [[nodiscard]] bool stopping() const override { return stopping_; }
    [[nodiscard]] std::unique_ptr<gossip::Activity> spawn(std::string name,
                                                          std::function<void()> body) override;
    void connect(const gossip::PeerId& peer, const std::string& address) override;
    void disconnect(const gossip::PeerId& peer) override;
    [[nodiscard]] Status send(const gossip::PeerId& to, gossip::Body body, SharedBytes payload) override;
    [[nodiscard]] std::optional<gossip::Message> receive(gossip::Topic topic, double deadline) override;
    [[nodiscard]] Traffic traffic() const override;

  private:
    HostNetwork(const gossip::Identity& identity, NetworkOptions options);
    void on_message(const gossip::PeerId& from, ByteView envelope, SharedBytes payload,
                    const Hash& payload_hash) override;
    void on_guest(const std::string& user, ByteView envelope,
                  const std::function<void(const gossip::PeerId&)>& answerable) override;
    void deliver(gossip::Message message);
    void refuse(std::string_view who, gossip::Refusal refusal, std::string_view reason);
    using Windows = std::map<gossip::PeerId, gossip::ReplayWindow>;
    bool first_seen(Windows& windows, const gossip::PeerId& sender, std::uint64_t sequence);

    struct Mailbox {
        std::mutex mutex;  // guards messages
        std::condition_variable arrived;
        std::deque<gossip::Message> messages;
    };

    const gossip::Identity& identity_;
    const NetworkOptions options_;
    std::atomic<bool> stopping_{false};
    std::mutex sleep_mutex_;
    std::condition_variable woken_;
    std::array<Mailbox, 5> mailboxes_;              // one a gossip::Topic
    mutable std::mutex mutex_;                      // guards the four below
    std::map<gossip::PeerId, std::uint64_t> sent_;  // messages to each peer: sequence numbers
    Windows windows_;                               // of members
    Windows guest_windows_;
    std::map<std::string, std::uint64_t> refusals_;
    std::atomic<std::uint64_t> lost_{0};
    Gate gate_;
    std::unique_ptr<Transport> transport_;  // last: its threads use all above
};

}  // namespace Atoll::node

// The state of a transport, and the functions of its socket thread (transport_loop.cc) beside those that any
// thread may call (transport.cc). Included by .cc files only.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "kernels/hash/tree_hash.h"
#include "node/network/incoming.h"
#include "node/network/link.h"
#include "node/network/task_thread.h"
#include "node/network/transport.h"

namespace Atoll::node {

class Transport::Impl {
  public:
    Impl(const gossip::Identity& identity, const TransportOptions& options, Handler& handler, Gate& gate)
        : identity_(identity),
          options_(options),
          handler_(handler),
          gate_(gate),
          pool_(options.inbound_bytes_max),
          incoming_(options.payload_bytes_max, pool_),
          empty_hash_(options.plain_for_benchmarks ? Hash{} : kernels::tree_hash({})) {}
    ~Impl();
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    Status open();
    Status connect(const gossip::PeerId& peer, const std::string& address);
    void disconnect(const gossip::PeerId& peer);
    bool connected(const gossip::PeerId& peer) const;
    Status send(const gossip::PeerId& to, Seal seal, SharedBytes payload);
    Counts counts() const;
    const std::string& bound_address() const { return bound_; }

  private:
    // What other threads share with the socket thread about one peer.
    struct Peer {
        std::deque<Bytes> messages;
        std::deque<std::shared_ptr<Departure>> payloads;
        double heard = -1e9;
        std::string address;
        CurveKey key{};
        bool redial = true;  // the link has to be made (anew)
    };

    // The holder of an invite, not yet a member: may be answered over the connection it dialled.
    struct Guest {
        std::string route;
        std::deque<Bytes> messages;
    };

    bool is_silent(const Peer& peer) const;
    Status can_send(const gossip::PeerId& to) const;
    void run();
    void wake() const;
    void update_links();
    bool serve_links(double now, bool flushing);  // true if some peer has to be tried again soon
    bool serve_bulk(const gossip::PeerId& peer, Link& link);
    void receive_from_router(double now);
    void receive_from_dealer(const gossip::PeerId& peer, zmq::socket_t& dealer, double now);
    void dispatch(const gossip::PeerId& from, const std::string& route, const FrameHead& head,
                  zmq::message_t& data, double now);
    void arrived(const Incoming::Source& source, const FrameHead& head, ByteView data, double now);
    void receive_from_guest(const std::string& route, const std::string& user, const FrameHead& head,
                            ByteView data);
    void serve_guests();
    void answer_hello(const std::string& route, ByteView data);
    void lost(std::string_view who, std::string_view why);
    std::shared_ptr<Departure> front_payload(const gossip::PeerId& peer);
    void pop_payload(const gossip::PeerId& peer);

    const gossip::Identity& identity_;
    const TransportOptions options_;
    Handler& handler_;
    Gate& gate_;
    BufferPool pool_;
    Incoming incoming_;  // socket thread
    const Hash empty_hash_;
    std::string bound_;

    mutable std::mutex mutex_;  // guards the two below
    std::map<gossip::PeerId, Peer> peers_;
    std::map<gossip::PeerId, Guest> guests_;
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint64_t> bytes_sent_{0};
    std::atomic<std::uint64_t> bytes_received_{0};
    std::atomic<std::uint64_t> messages_lost_{0};

    int wake_descriptor_ = -1;
    zmq::context_t context_;
    std::optional<zmq::socket_t> zap_;
    std::optional<zmq::socket_t> router_;
    std::map<gossip::PeerId, Link> links_;  // socket thread
    TaskThread departure_hasher_;
    TaskThread arrival_hasher_;
    std::thread thread_;
};

[[nodiscard]] inline double steady_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace Atoll::node

#include "node/network/transport.h"

#include <fmt/core.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "base/log.h"
#include "gossip/address.h"
#include "kernels/hash/tree_hash.h"
#include "node/network/incoming.h"
#include "node/network/link.h"
#include "node/network/task_thread.h"

namespace Atoll::node {

namespace {

constexpr double kFlushSeconds = 1;    // at most, for farewells
constexpr int kPollMilliseconds = 50;  // hello and silence are looked at as often
constexpr int kRetryMilliseconds =
    1;  // when the way back to a peer is full: a ROUTER can't say when it drains
constexpr int kMessagesPerTurn = 64;  // from one socket, before the others have theirs
constexpr int kChunksPerTurn = 8;
constexpr int kSocketsMax = 8192;
constexpr std::size_t kGuestsMax = 64;
constexpr std::size_t kGuestMessagesMax = 8;
constexpr std::string_view kMemberPrefix = "member:";

// "host:port" or "tcp://host:port" as ZeroMQ wants it, port 0 for any free one. Checked here: ZeroMQ takes
// ports modulo 65536.
Result<std::string> bind_address(const std::string& listen) {
    const std::string text = listen.starts_with("tcp://") ? listen : "tcp://" + listen;
    const auto colon = text.rfind(':');
    const std::string port = text.substr(colon + 1);
    const bool any_port = port == "0" || port == "*";
    const auto address = gossip::parse_address(any_port ? text.substr(0, colon) + ":1" : text);
    if (!address) {
        return Error{ErrorCode::invalid,
                     fmt::format("cannot listen on {}: expected host:port (local.listen)", listen)};
    }
    const std::string checked = address->text();
    return any_port ? checked.substr(0, checked.rfind(':')) + ":*" : checked;
}

double steady_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string member_user(const gossip::PeerId& peer) { return std::string(kMemberPrefix) + peer.text(); }

std::optional<gossip::PeerId> peer_of_user(std::string_view user) {
    if (!user.starts_with(kMemberPrefix)) return std::nullopt;
    auto peer = gossip::peer_id_from_text(user.substr(kMemberPrefix.size()));
    if (!peer) return std::nullopt;
    return *peer;
}

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

Transport::Impl::~Impl() {
    stopping_ = true;
    wake();
    if (thread_.joinable()) thread_.join();
    departure_hasher_.stop();
    arrival_hasher_.stop();
    links_.clear();
    router_.reset();
    zap_.reset();
    context_.close();
    if (wake_descriptor_ >= 0) close(wake_descriptor_);
}

Status Transport::Impl::open() {
    ATOLL_ASSIGN(const std::string listen, bind_address(options_.listen));
    wake_descriptor_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_descriptor_ < 0) return Error{ErrorCode::failed, "eventfd failed: too many open files"};
    try {
        context_.set(zmq::ctxopt::max_sockets, kSocketsMax);
        zap_.emplace(context_, zmq::socket_type::rep);
        zap_->set(zmq::sockopt::linger, 0);
        zap_->bind(kZapAddress);  // before anything else: ZeroMQ lets everybody in where nobody answers
        router_.emplace(context_, zmq::socket_type::router);
        set_common_options(*router_, kBulkHighWater, 500);
        router_->set(zmq::sockopt::router_mandatory, true);  // else what can't be routed vanishes silently
        if (!options_.plain_for_benchmarks) set_curve_server(*router_, identity_);
        router_->set(zmq::sockopt::ipv6,
                     listen.find('[') != std::string::npos);  // else IPv4 shows as ::ffff:...
        router_->bind(listen);
        bound_ = router_->get(zmq::sockopt::last_endpoint);
    } catch (const zmq::error_t& error) {
        if (error.num() == EADDRINUSE) {
            return Error{ErrorCode::failed,
                         fmt::format("{} is in use by another program: choose another port (local.listen)",
                                     options_.listen)};
        }
        return Error{ErrorCode::invalid,
                     fmt::format("cannot listen on {}: {}; expected tcp://host:port of this machine",
                                 options_.listen, error.what())};
    }
    thread_ = std::thread([this] { run(); });
    return {};
}

void Transport::Impl::wake() const {
    const std::uint64_t one = 1;
    // Fails only if the counter is full: then the thread is awake anyway.
    [[maybe_unused]] const auto written = write(wake_descriptor_, &one, sizeof one);
}

Status Transport::Impl::connect(const gossip::PeerId& peer, const std::string& address) {
    ATOLL_ASSIGN(const CurveKey key, gossip::curve_public_key(peer));
    gate_.allow(key, member_user(peer));
    {
        const std::lock_guard lock(mutex_);
        const auto [it, added] = peers_.try_emplace(peer);
        if (!added && it->second.address == address) return {};
        it->second.address = address;
        it->second.key = key;
        it->second.redial = true;
    }
    wake();
    return {};
}

void Transport::Impl::disconnect(const gossip::PeerId& peer) {
    if (const auto key = gossip::curve_public_key(peer)) gate_.forbid(*key);
    {
        const std::lock_guard lock(mutex_);
        peers_.erase(peer);
    }
    wake();
}

bool Transport::Impl::connected(const gossip::PeerId& peer) const {
    const std::lock_guard lock(mutex_);
    const auto it = peers_.find(peer);
    return it != peers_.end() && !is_silent(it->second);
}

bool Transport::Impl::is_silent(const Peer& peer) const {
    return steady_now() - peer.heard >= options_.silence_seconds;
}

Status Transport::Impl::can_send(const gossip::PeerId& to) const {
    const std::lock_guard lock(mutex_);
    const Error full{ErrorCode::unavailable, fmt::format("the queue to {} is full", to.short_name())};
    const auto it = peers_.find(to);
    if (it != peers_.end() && !is_silent(it->second)) {
        const Peer& peer = it->second;
        if (peer.messages.size() < options_.queued_messages_max &&
            peer.payloads.size() < options_.queued_payloads_max)
            return {};
        return full;
    }
    if (const auto guest = guests_.find(to); guest != guests_.end()) {
        if (guest->second.messages.size() < kGuestMessagesMax) return {};
        return full;
    }
    if (it != peers_.end())
        return Error{ErrorCode::unavailable, fmt::format("{} is not connected", to.short_name())};
    return Error{ErrorCode::refused, fmt::format("{} is not a peer of this node", to.short_name())};
}

Status Transport::Impl::send(const gossip::PeerId& to, Seal seal, SharedBytes payload) {
    if (payload.size() > options_.payload_bytes_max) {
        return Error{ErrorCode::refused,
                     fmt::format("a payload of {} bytes for {} is over the limit of {}", payload.size(),
                                 to.short_name(), options_.payload_bytes_max)};
    }
    ATOLL_TRY(can_send(to));
    Bytes envelope;
    if (payload.empty()) envelope = seal(empty_hash_);  // signing takes longer than the lock should be held
    std::shared_ptr<Departure> departure;
    {
        const std::lock_guard lock(mutex_);
        const auto it = peers_.find(to);
        if (it == peers_.end() || is_silent(it->second)) {
            const auto guest = guests_.find(to);
            if (guest == guests_.end() || !payload.empty()) {
                return Error{ErrorCode::unavailable, fmt::format("{} has just gone", to.short_name())};
            }
            guest->second.messages.push_back(std::move(envelope));
        } else if (payload.empty()) {
            it->second.messages.push_back(std::move(envelope));
        } else {
            departure = std::make_shared<Departure>(std::move(payload));
            it->second.payloads.push_back(departure);
        }
    }
    wake();
    if (departure) {
        departure_hasher_.post([this, departure, seal = std::move(seal)] {
            departure->envelope =
                seal(options_.plain_for_benchmarks ? Hash{} : kernels::tree_hash(departure->payload.view()));
            departure->sealed.store(true, std::memory_order_release);
            wake();
        });
    }
    return {};
}

Transport::Counts Transport::Impl::counts() const { return {bytes_sent_, bytes_received_, messages_lost_}; }

void Transport::Impl::lost(std::string_view who, std::string_view why) {
    ++messages_lost_;
    log::warn("dropped a message from {}: {}", who, why);
}

void Transport::Impl::run() {
    double flush_until = 0;
    std::vector<zmq::pollitem_t> items;
    std::vector<std::pair<gossip::PeerId, zmq::socket_t*>> dealers;
    for (;;) {
        double now = steady_now();
        const bool flushing = stopping_;
        if (flushing && flush_until == 0) flush_until = now + kFlushSeconds;
        update_links();
        serve_guests();
        const bool again = serve_links(now, flushing);
        if (flushing) {
            const std::lock_guard lock(mutex_);
            bool waiting = false;
            for (const auto& [id, peer] : peers_) waiting = waiting || !peer.messages.empty();
            if (!waiting || now > flush_until) return;
        }
        items = {{zap_->handle(), 0, ZMQ_POLLIN, 0},
                 {nullptr, wake_descriptor_, ZMQ_POLLIN, 0},
                 {router_->handle(), 0, ZMQ_POLLIN, 0}};
        dealers.clear();
        for (auto& [peer, link] : links_) {
            for (const Lane lane : {Lane::control, Lane::bulk}) {
                zmq::socket_t* dealer = link.dialled(lane);
                if (dealer == nullptr) continue;
                short events = ZMQ_POLLIN;
                if (lane == Lane::bulk && link.bulk_is_dialled()) {
                    const auto departure = front_payload(peer);
                    if (departure && link.wants_bulk(*departure)) events |= ZMQ_POLLOUT;
                }
                items.push_back({dealer->handle(), 0, events, 0});
                dealers.emplace_back(peer, dealer);
            }
        }
        zmq::poll(items, std::chrono::milliseconds(again ? kRetryMilliseconds : kPollMilliseconds));
        now = steady_now();
        if (items[0].revents != 0) answer_zap(zap_->handle(), gate_);
        if (items[1].revents != 0) {
            std::uint64_t count = 0;
            [[maybe_unused]] const auto got = read(wake_descriptor_, &count, sizeof count);
        }
        if (items[2].revents != 0) receive_from_router(now);
        for (std::size_t i = 0; i < dealers.size(); ++i) {
            if ((items[i + 3].revents & ZMQ_POLLIN) != 0)
                receive_from_dealer(dealers[i].first, *dealers[i].second, now);
        }
    }
}

void Transport::Impl::update_links() {
    const gossip::Identity& dial_as = options_.dial_as != nullptr ? *options_.dial_as : identity_;
    const std::lock_guard lock(mutex_);
    std::erase_if(links_, [this](const auto& entry) { return peers_.find(entry.first) == peers_.end(); });
    for (auto& [id, peer] : peers_) {
        if (!peer.redial) continue;
        peer.redial = false;
        links_.erase(id);
        try {
            links_.try_emplace(id, context_, *router_, dial_as, peer.key, peer.address,
                               options_.plain_for_benchmarks);
        } catch (const zmq::error_t& error) {
            log::warn("cannot dial {} at {}: {}", id.short_name(), peer.address, error.what());
            links_.try_emplace(id, context_, *router_, dial_as, peer.key, "", options_.plain_for_benchmarks);
        }
    }
}

bool Transport::Impl::serve_links(double now, bool flushing) {
    bool again = false;
    for (auto& [id, link] : links_) {
        const std::uint64_t before = link.bytes_sent();
        link.greet(now);
        for (;;) {  // control
            std::unique_lock lock(mutex_);
            const auto it = peers_.find(id);
            if (it == peers_.end() || it->second.messages.empty()) break;
            if (is_silent(it->second)) {
                messages_lost_ += it->second.messages.size();
                it->second.messages.clear();
                break;
            }
            const Bytes envelope = std::move(it->second.messages.front());
            it->second.messages.pop_front();
            lock.unlock();
            const Link::Sent sent = link.send_message(envelope);
            if (sent == Link::Sent::failed)
                lost(id.short_name(), "it cannot be delivered: the connection is gone");
            if (sent == Link::Sent::not_now) {
                lock.lock();
                if (const auto back = peers_.find(id); back != peers_.end())
                    back->second.messages.push_front(envelope);
                again = true;
                break;
            }
        }
        if (!flushing) again = serve_bulk(id, link) || again;
        bytes_sent_ += link.bytes_sent() - before;
    }
    return again;
}

bool Transport::Impl::serve_bulk(const gossip::PeerId& peer, Link& link) {
    for (int i = 0; i < kChunksPerTurn; ++i) {
        const auto departure = front_payload(peer);
        if (!departure || !link.wants_bulk(*departure)) return false;
        bool done = false;
        const Link::Sent sent = connected(peer) ? link.send_next(*departure, done) : Link::Sent::failed;
        if (sent == Link::Sent::not_now) return !link.bulk_is_dialled();
        if (sent == Link::Sent::failed)
            lost(peer.short_name(), "a payload cannot be delivered: the connection is gone");
        if (done || sent == Link::Sent::failed) {
            pop_payload(peer);
            link.next_departure();
        }
    }
    return false;
}

std::shared_ptr<Departure> Transport::Impl::front_payload(const gossip::PeerId& peer) {
    const std::lock_guard lock(mutex_);
    const auto it = peers_.find(peer);
    return it == peers_.end() || it->second.payloads.empty() ? nullptr : it->second.payloads.front();
}

void Transport::Impl::pop_payload(const gossip::PeerId& peer) {
    const std::lock_guard lock(mutex_);
    const auto it = peers_.find(peer);
    if (it != peers_.end() && !it->second.payloads.empty()) it->second.payloads.pop_front();
}

void Transport::Impl::receive_from_router(double now) {
    for (int i = 0; i < kMessagesPerTurn; ++i) {
        zmq::message_t route;
        if (!router_->recv(route, zmq::recv_flags::dontwait)) return;
        std::vector<zmq::message_t> parts;
        for (bool more = route.more(); more;) {
            zmq::message_t part;
            if (!router_->recv(part, zmq::recv_flags::dontwait)) break;
            more = part.more();
            if (parts.size() < 3) parts.push_back(std::move(part));
        }
        const std::string way = route.to_string();
        std::optional<gossip::PeerId> from;
        std::string user;
        if (options_.plain_for_benchmarks) {
            from = peer_of_plain_routing_id(way);
        } else if (!parts.empty()) {
            // The key behind this User-Id was proven in the handshake.
            const char* proven = zmq_msg_gets(parts[0].handle(), "User-Id");
            if (proven != nullptr) user = proven;
            from = peer_of_user(user);
        }
        const std::string who = from ? from->short_name() : user;
        const auto head = parts.size() == 2 ? read_frame_head(view_of(parts[0])) : std::nullopt;
        if (!head) {
            lost(who, fmt::format("{} parts that are no frame of this protocol", parts.size()));
        } else if (from) {
            dispatch(*from, way, *head, parts[1], now);
        } else {
            receive_from_guest(way, user, *head, view_of(parts[1]));
        }
    }
}

void Transport::Impl::receive_from_dealer(const gossip::PeerId& peer, zmq::socket_t& dealer, double now) {
    for (int i = 0; i < kMessagesPerTurn; ++i) {
        zmq::message_t first;
        if (!dealer.recv(first, zmq::recv_flags::dontwait)) return;
        zmq::message_t data;
        std::size_t parts = 1;
        for (bool more = first.more(); more; ++parts) {
            if (!dealer.recv(data, zmq::recv_flags::dontwait)) break;
            more = data.more();
        }
        const auto head = parts == 2 ? read_frame_head(view_of(first)) : std::nullopt;
        if (head) {
            dispatch(peer, "", *head, data, now);
        } else {
            lost(peer.short_name(), fmt::format("{} parts that are no frame of this protocol", parts));
        }
    }
}

void Transport::Impl::dispatch(const gossip::PeerId& from, const std::string& route, const FrameHead& head,
                               zmq::message_t& data, double now) {
    const auto link = links_.find(from);
    {
        const std::lock_guard lock(mutex_);
        const auto it = peers_.find(from);
        if (it == peers_.end() || link == links_.end()) return;  // disconnected a moment ago
        it->second.heard = now;
    }
    bytes_received_ += kFrameHeadBytes + data.size();
    const bool bulk = head.kind == FrameKind::chunk || head.kind == FrameKind::end ||
                      (head.kind == FrameKind::hello && data.size() == 1 && view_of(data)[0] == std::byte{1});
    link->second.heard(bulk ? Lane::bulk : Lane::control, route, now);
    switch (head.kind) {
        case FrameKind::hello:
            if (!route.empty()) answer_hello(route, view_of(data));
            return;
        case FrameKind::message:
            if (data.size() == 0 || data.size() > kFrameBytesMax) {
                return lost(from.short_name(), fmt::format("an envelope of {} bytes; the limit is {}",
                                                           data.size(), kFrameBytesMax));
            }
            return handler_.on_message(from, view_of(data), {}, empty_hash_);
        case FrameKind::chunk:
        case FrameKind::end: return arrived({from, route}, head, view_of(data), now);
    }
}

void Transport::Impl::answer_hello(const std::string& route, ByteView data) {
    data = data.first(std::min<std::size_t>(data.size(), 1));
    if (send_frame(*router_, route, {.kind = FrameKind::hello}, copied(data)) == 0)
        bytes_sent_ += kFrameHeadBytes + data.size();
}

void Transport::Impl::arrived(const Incoming::Source& source, const FrameHead& head, ByteView data,
                              double now) {
    const gossip::PeerId& from = source.peer;
    std::string problem;
    std::shared_ptr<Arrival> arrival;
    if (head.kind == FrameKind::chunk) {
        arrival = incoming_.chunk(source, head, data, now, problem);
        if (arrival && !options_.plain_for_benchmarks) {
            arrival_hasher_.post(
                [arrival, received = arrival->received] { arrival->hash.advance(received); });
        }
    } else if (data.empty() || data.size() > kFrameBytesMax) {
        incoming_.forget(source);
        problem = fmt::format("an envelope of {} bytes; the limit is {}", data.size(), kFrameBytesMax);
    } else {
        arrival = incoming_.end(source, head, problem);
        if (arrival) {
            arrival_hasher_.post([this, from, arrival, envelope = Bytes(data.begin(), data.end())] {
                const Hash hash = options_.plain_for_benchmarks ? Hash{} : arrival->hash.finish();
                handler_.on_message(from, envelope, arrival->buffer.share(), hash);
            });
        }
    }
    if (!problem.empty()) lost(from.short_name(), problem);
}

void Transport::Impl::receive_from_guest(const std::string& route, const std::string& user,
                                         const FrameHead& head, ByteView data) {
    bytes_received_ += kFrameHeadBytes + data.size();
    if (head.kind == FrameKind::hello) return answer_hello(route, data);
    if (head.kind != FrameKind::message || data.empty() || data.size() > kFrameBytesMax) {
        return lost(user, "only a request to join is expected from the holder of an invite");
    }
    handler_.on_guest(user, data, [this, &route](const gossip::PeerId& guest) {
        const std::lock_guard lock(mutex_);
        if (guests_.size() >= kGuestsMax) guests_.erase(guests_.begin());
        guests_[guest].route = route;
    });
}

void Transport::Impl::serve_guests() {
    const std::lock_guard lock(mutex_);
    for (auto& [id, guest] : guests_) {
        for (; !guest.messages.empty(); guest.messages.pop_front()) {
            const std::size_t bytes = kFrameHeadBytes + guest.messages.front().size();
            if (send_frame(*router_, guest.route, {.kind = FrameKind::message},
                           copied(guest.messages.front())) == 0) {
                bytes_sent_ += bytes;
            } else {
                ++messages_lost_;
            }
        }
    }
}

Result<std::unique_ptr<Transport>> Transport::start(const gossip::Identity& identity,
                                                    const TransportOptions& options, Handler& handler,
                                                    Gate& gate) {
    auto impl = std::make_unique<Impl>(identity, options, handler, gate);
    ATOLL_TRY(impl->open());
    return std::unique_ptr<Transport>(new Transport(std::move(impl)));
}

Transport::Transport(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transport::~Transport() = default;
const std::string& Transport::bound_address() const { return impl_->bound_address(); }
Status Transport::connect(const gossip::PeerId& peer, const std::string& address) {
    return impl_->connect(peer, address);
}
void Transport::disconnect(const gossip::PeerId& peer) { impl_->disconnect(peer); }
bool Transport::connected(const gossip::PeerId& peer) const { return impl_->connected(peer); }
Status Transport::send(const gossip::PeerId& to, Seal seal, SharedBytes payload) {
    return impl_->send(to, std::move(seal), std::move(payload));
}
Transport::Counts Transport::counts() const { return impl_->counts(); }

}  // namespace Atoll::node

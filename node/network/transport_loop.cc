#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "node/network/transport_impl.h"

namespace Atoll::node {

namespace {

constexpr double kFlushSeconds = 1;    // at most, for farewells
constexpr int kPollMilliseconds = 50;  // hello and silence are looked at as often
constexpr int kRetryMilliseconds =
    1;  // when the way back to a peer is full: a ROUTER can't say when it drains
constexpr int kMessagesPerTurn = 64;  // from one socket, before the others have theirs
constexpr int kChunksPerTurn = 8;
constexpr std::size_t kGuestsMax = 64;

}  // namespace

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

}  // namespace Atoll::node

#include "node/network/link.h"

#include <algorithm>
#include <cstring>

namespace Atoll::node {

namespace {

constexpr double kHelloSeconds = 1;              // once the peer answers
constexpr double kFirstHelloSeconds = 0.1;       // until it does
constexpr double kRefusedSeconds = 3;            // a connection that never said anything is dialled again
constexpr double kSilentSeconds = 60;            // one that did, and whose hello may wait behind many chunks
constexpr double kFreshSeconds = 5;              // a way heard of in this time is good
constexpr int kControlLingerMilliseconds = 500;  // a farewell may still leave

}  // namespace

Link::Link(zmq::context_t& context, zmq::socket_t& router, const gossip::Identity& identity,
           const gossip::CurveKey& key, std::string address, bool plain)
    : context_(context),
      router_(router),
      identity_(identity),
      key_(key),
      address_(std::move(address)),
      plain_(plain) {
    if (address_.empty()) return;
    dial(Lane::control);
    dial(Lane::bulk);
}

void Link::dial(Lane lane) {
    zmq::socket_t dealer(context_, zmq::socket_type::dealer);
    const bool bulk = lane == Lane::bulk;
    set_common_options(dealer, bulk ? kBulkHighWater : kControlHighWater,
                       bulk ? 0 : kControlLingerMilliseconds);
    if (plain_) {
        dealer.set(zmq::sockopt::routing_id, plain_routing_id(identity_.id(), lane));
    } else {
        set_curve_client(dealer, identity_, key_);
    }
    dealer.connect(address_);
    ways_[static_cast<std::size_t>(lane)].dealer = std::move(dealer);
}

zmq::socket_t* Link::dialled(Lane lane) {
    Way& way = ways_[static_cast<std::size_t>(lane)];
    return way.dealer ? &*way.dealer : nullptr;
}

void Link::heard(Lane lane, const std::string& route, double now) {
    Way& way = ways_[static_cast<std::size_t>(lane)];
    if (route.empty()) {
        way.dealer_heard = now;
    } else {
        way.route = route;
        way.route_heard = now;
    }
}

void Link::greet(double now) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
        Way& way = ways_[lane];
        if (!way.dealer || now < way.next_hello) continue;
        if (way.dialled == 0) way.dialled = now;
        const double patience = way.dealer_heard < way.dialled ? kRefusedSeconds : kSilentSeconds;
        if (now - std::max(way.dialled, way.dealer_heard) > patience) {
            dial(static_cast<Lane>(lane));
            way.dialled = now;
        }
        const bool answered = now - way.dealer_heard < kFreshSeconds;
        way.next_hello = now + (answered ? kHelloSeconds : kFirstHelloSeconds);
        const auto data = static_cast<std::byte>(lane);
        if (send_frame(*way.dealer, "", {.kind = FrameKind::hello}, copied(ByteView(&data, 1))) == 0) {
            bytes_sent_ += kFrameHeadBytes + 1;
        }
    }
}

bool Link::uses_dealer(const Way& way) { return way.dealer && (way.route.empty() || way.on_dealer); }

// Where each side dialled the other, one connection is kept to as long as it is good: chunks keep their order
// only on one, and a hello may wait behind many chunks.
void Link::choose(Way& way) {
    if (way.on_dealer && way.route_heard - way.dealer_heard > kSilentSeconds) way.on_dealer = false;
    if (!way.on_dealer && way.dealer_heard - way.route_heard > kSilentSeconds) way.on_dealer = true;
}

bool Link::bulk_is_dialled() const { return uses_dealer(ways_[static_cast<std::size_t>(Lane::bulk)]); }

Link::Sent Link::send(Lane lane, const FrameHead& head, zmq::message_t data) {
    Way& way = ways_[static_cast<std::size_t>(lane)];
    const std::size_t bytes = kFrameHeadBytes + data.size();
    const bool between_payloads = head.kind != FrameKind::end && head.index == 0;
    if (between_payloads) choose(way);
    const bool dealer = uses_dealer(way);
    if (!dealer && way.route.empty()) return Sent::failed;
    const int error = dealer ? send_frame(*way.dealer, "", head, std::move(data))
                             : send_frame(router_, way.route, head, std::move(data));
    if (error == 0) {
        bytes_sent_ += bytes;
        return Sent::yes;
    }
    if (error == EAGAIN) return Sent::not_now;
    if (!dealer) {  // EHOSTUNREACH: that connection is gone
        way.route.clear();
        way.on_dealer = true;
    }
    return Sent::failed;
}

Link::Sent Link::send_message(ByteView envelope) {
    return send(Lane::control, {.kind = FrameKind::message}, copied(envelope));
}

bool Link::wants_bulk(const Departure& departure) const {
    return chunk_size(departure.payload.size(), next_index_) > 0 ||
           departure.sealed.load(std::memory_order_acquire);
}

void Link::next_departure() {
    ++transfer_;
    next_index_ = 0;
}

Link::Sent Link::send_next(Departure& departure, bool& done) {
    const FrameHead head{.kind = FrameKind::chunk,
                         .transfer = transfer_,
                         .index = next_index_,
                         .total = departure.payload.size()};
    const std::size_t size = chunk_size(head.total, next_index_);
    if (size > 0) {
        const Sent sent = send(Lane::bulk, head,
                               shared(departure.payload.slice(std::size_t{next_index_} * kChunkBytes, size)));
        if (sent == Sent::yes) ++next_index_;
        return sent;
    }
    const Sent sent =
        send(Lane::bulk,
             {.kind = FrameKind::end, .transfer = transfer_, .index = next_index_, .total = head.total},
             copied(departure.envelope));
    done = sent == Sent::yes;
    return sent;
}

std::string plain_routing_id(const gossip::PeerId& peer, Lane lane) {
    std::string id = lane == Lane::bulk ? "b" : "c";
    id.append(reinterpret_cast<const char*>(peer.key.data()), peer.key.size());
    return id;
}

std::optional<gossip::PeerId> peer_of_plain_routing_id(const std::string& id) {
    gossip::PeerId peer;
    if (id.size() != 1 + peer.key.size()) return std::nullopt;
    std::memcpy(peer.key.data(), id.data() + 1, peer.key.size());
    return peer;
}

}  // namespace Atoll::node

#include "node/network/transport.h"

#include <fmt/core.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gossip/address.h"
#include "node/network/transport_impl.h"

namespace Atoll::node {

namespace {

constexpr int kSocketsMax = 8192;
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

}  // namespace

std::string member_user(const gossip::PeerId& peer) { return std::string(kMemberPrefix) + peer.text(); }

std::optional<gossip::PeerId> peer_of_user(std::string_view user) {
    if (!user.starts_with(kMemberPrefix)) return std::nullopt;
    auto peer = gossip::peer_id_from_text(user.substr(kMemberPrefix.size()));
    if (!peer) return std::nullopt;
    return *peer;
}

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

#include "node/host_network.h"

#include <fmt/core.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/log.h"
#include "gossip/validate.h"

namespace Atoll::node {

namespace {

constexpr std::size_t kMailboxMessagesMax = 4096;
constexpr std::size_t kGuestWindowsMax = 1024;
constexpr std::size_t kThreadNameMax = 15;  // of Linux
using Clock = std::chrono::steady_clock;

Clock::time_point time_point_of(double seconds) {
    // Deadlines beyond a century are "never"; the clock's own type would overflow.
    constexpr double kFarSeconds = 3e9;
    return Clock::time_point(std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(std::min(seconds, kFarSeconds))));
}

class Thread : public gossip::Activity {
  public:
    Thread(const std::string& name, std::function<void()> body) : thread_(std::move(body)) {
        pthread_setname_np(thread_.native_handle(), name.substr(0, kThreadNameMax).c_str());
    }
    ~Thread() override { join(); }
    void join() override {
        if (thread_.joinable()) thread_.join();
    }

  private:
    std::thread thread_;
};

}  // namespace

HostNetwork::HostNetwork(const gossip::Identity& identity, NetworkOptions options)
    : identity_(identity), options_(std::move(options)) {}

Result<std::unique_ptr<HostNetwork>> HostNetwork::start(const gossip::Identity& identity,
                                                        NetworkOptions options) {
    std::unique_ptr<HostNetwork> host(new HostNetwork(identity, std::move(options)));
    ATOLL_ASSIGN(host->transport_, Transport::start(identity, host->options_.transport, *host, host->gate_));
    return host;
}

HostNetwork::~HostNetwork() { stop(); }

void HostNetwork::stop() {
    stopping_ = true;
    {
        const std::lock_guard lock(sleep_mutex_);
        woken_.notify_all();
    }
    for (Mailbox& mailbox : mailboxes_) {
        const std::lock_guard lock(mailbox.mutex);
        mailbox.arrived.notify_all();
    }
}

double HostNetwork::now() const {
    return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

// Not before this start, whatever the clock says.
double HostNetwork::unix_time() const {
    return std::max(
        static_cast<double>(options_.incarnation),
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count());
}

void HostNetwork::sleep(double seconds) {
    std::unique_lock lock(sleep_mutex_);
    woken_.wait_until(lock, time_point_of(now() + seconds), [this] { return stopping_.load(); });
}

std::unique_ptr<gossip::Activity> HostNetwork::spawn(std::string name, std::function<void()> body) {
    return std::make_unique<Thread>(name, std::move(body));
}

void HostNetwork::connect(const gossip::PeerId& peer, const std::string& address) {
    if (peer == self()) return;
    if (const Status status = transport_->connect(peer, address); !status) {
        log::warn("cannot connect to {}: {}", peer.short_name(), status.error().message);
    }
}

void HostNetwork::disconnect(const gossip::PeerId& peer) { transport_->disconnect(peer); }

Status HostNetwork::send(const gossip::PeerId& to, gossip::Body body, SharedBytes payload) {
    if (to == self()) {
        deliver({.sender = to, .body = std::move(body), .payload = std::move(payload)});
        return {};
    }
    std::uint64_t sequence = 0;
    {
        const std::lock_guard lock(mutex_);
        sequence = gossip::first_sequence(options_.incarnation) + ++sent_[to];
    }
    const std::uint64_t bytes = payload.size();
    const auto seal = [this, sequence, bytes](const gossip::Body& content, const std::optional<Hash>& hash) {
        return gossip::encode_message(identity_, options_.run, sequence, content,
                                      {.bytes = bytes, .hash = hash});
    };
    // What cannot be said is refused here, before a byte of the payload leaves.
    ATOLL_TRY(gossip::validate(body, bytes));
    if (payload.empty()) {
        ATOLL_ASSIGN(Bytes envelope, seal(body, std::nullopt));
        return transport_->send(to, [envelope = std::move(envelope)](const Hash&) { return envelope; }, {});
    }
    return transport_->send(
        to,
        [seal, content = std::move(body)](const Hash& hash) {
            auto sealed = seal(content, hash);
            return sealed.ok() ? std::move(*sealed) : Bytes{};  // validate() has let it pass
        },
        std::move(payload));
}

std::optional<gossip::Message> HostNetwork::receive(gossip::Topic topic, double deadline) {
    Mailbox& mailbox = mailboxes_[static_cast<std::size_t>(topic)];
    std::unique_lock lock(mailbox.mutex);
    mailbox.arrived.wait_until(lock, time_point_of(deadline),
                               [&] { return stopping_ || !mailbox.messages.empty(); });
    if (stopping_ || mailbox.messages.empty()) return std::nullopt;
    gossip::Message message = std::move(mailbox.messages.front());
    mailbox.messages.pop_front();
    return message;
}

gossip::Host::Traffic HostNetwork::traffic() const {
    const Transport::Counts counts = transport_->counts();
    return {counts.bytes_sent, counts.bytes_received, counts.messages_lost + lost_};
}

std::map<std::string, std::uint64_t> HostNetwork::refusals() const {
    const std::lock_guard lock(mutex_);
    return refusals_;
}

void HostNetwork::refuse(std::string_view who, gossip::Refusal refusal, std::string_view reason) {
    ++lost_;
    log::warn("refused a message from {} ({}): {}", who, gossip::refusal_name(refusal), reason);
    const std::lock_guard lock(mutex_);
    ++refusals_[std::string(gossip::refusal_name(refusal))];
}

bool HostNetwork::first_seen(Windows& windows, const gossip::PeerId& sender, std::uint64_t sequence) {
    const std::lock_guard lock(mutex_);
    return windows[sender].accept(sequence);
}

void HostNetwork::on_message(const gossip::PeerId& from, ByteView envelope, SharedBytes payload,
                             const Hash& payload_hash) {
    gossip::Decoded decoded = gossip::decode_message(envelope, options_.run, from);
    if (!decoded.envelope) return refuse(from.short_name(), decoded.refusal, decoded.reason);
    const gossip::PayloadNote& note = decoded.envelope->payload;
    if (note.bytes != payload.size()) {
        return refuse(from.short_name(), gossip::Refusal::bad_content,
                      fmt::format("{} bytes of payload came, {} were announced", payload.size(), note.bytes));
    }
    if (!payload.empty() && (!note.hash || *note.hash != payload_hash)) {
        return refuse(from.short_name(), gossip::Refusal::bad_content,
                      "the payload is not the one that was signed");
    }
    if (!first_seen(windows_, from, decoded.envelope->sequence)) {
        return refuse(from.short_name(), gossip::Refusal::replayed,
                      fmt::format("number {} again", decoded.envelope->sequence));
    }
    deliver({.sender = from, .body = std::move(decoded.envelope->body), .payload = std::move(payload)});
}

void HostNetwork::on_guest(const std::string& user, ByteView envelope,
                           const std::function<void(const gossip::PeerId&)>& answerable) {
    gossip::Decoded decoded = gossip::decode_message(envelope, options_.run, std::nullopt);
    if (!decoded.envelope) return refuse(user, decoded.refusal, decoded.reason);
    if (!std::holds_alternative<gossip::JoinRequest>(decoded.envelope->body) ||
        decoded.envelope->payload.bytes != 0) {
        return refuse(user, gossip::Refusal::bad_content,
                      "only a request to join is expected from the holder of an invite");
    }
    const gossip::PeerId guest = decoded.envelope->sender;
    {
        // The holder of one invite can come as any number of guests. Forgetting them costs little: a request
        // that is heard again is answered again.
        const std::lock_guard lock(mutex_);
        if (guest_windows_.size() >= kGuestWindowsMax) guest_windows_.clear();
    }
    if (!first_seen(guest_windows_, guest, decoded.envelope->sequence)) {
        return refuse(user, gossip::Refusal::replayed,
                      fmt::format("number {} again", decoded.envelope->sequence));
    }
    answerable(guest);
    deliver({.sender = guest, .body = std::move(decoded.envelope->body), .payload = {}});
}

void HostNetwork::deliver(gossip::Message message) {
    Mailbox& mailbox = mailboxes_[static_cast<std::size_t>(gossip::topic_of(message.body))];
    const std::lock_guard lock(mailbox.mutex);
    if (mailbox.messages.size() >= kMailboxMessagesMax) {
        ++lost_;
        log::warn("dropped a {} from {}: {} messages wait unread", gossip::kind_name(message.body),
                  message.sender.short_name(), mailbox.messages.size());
        return;
    }
    mailbox.messages.push_back(std::move(message));
    mailbox.arrived.notify_one();
}

}  // namespace Atoll::node

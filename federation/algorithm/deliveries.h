// Shares that must arrive: sent again until a receipt comes, and taken once at the other end.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "gossip/host.h"

namespace Atoll::federation {

class Deliveries {
  public:
    struct Pending {
        gossip::PeerId to;
        gossip::MixShare share;
        SharedBytes payload;
        double sent = 0;   // for the first time
        double again = 0;  // when to send it once more
    };

    // `first_sequence`: above whatever an earlier incarnation of this node used.
    explicit Deliveries(std::uint64_t first_sequence) : next_sequence_(first_sequence) {}

    // share.sequence is ignored. What cannot be sent now is sent later.
    void send(gossip::Host& host, const gossip::PeerId& to, gossip::MixShare share, SharedBytes payload,
              double interval);
    // Sends again what was not answered for `interval` seconds.
    void resend(gossip::Host& host, double interval);
    // When resend() will next have something to do; infinity if nothing is pending.
    [[nodiscard]] double next_resend() const;
    // The share that the receipt settles: nothing more is sent.
    [[nodiscard]] std::optional<Pending> settle(const gossip::PeerId& from,
                                                const gossip::MixReceipt& receipt);
    [[nodiscard]] std::vector<Pending>& pending() { return pending_; }
    [[nodiscard]] const std::vector<Pending>& pending() const { return pending_; }

    // At the receiver: whether a share is taken already, or so old that this is not known any more.
    [[nodiscard]] bool taken(const gossip::PeerId& from, std::uint64_t sequence) const;
    void take(const gossip::PeerId& from, std::uint64_t sequence);

  private:
    std::uint64_t next_sequence_;
    std::vector<Pending> pending_;
    std::map<gossip::PeerId, std::set<std::uint64_t>> taken_;
};

}  // namespace Atoll::federation

#include "federation/algorithm/deliveries.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace Atoll::federation {

namespace {

// So many sequences of a sender are remembered; a share is pending for far fewer of its successors.
constexpr std::size_t kTakenKept = 1024;

}  // namespace

void Deliveries::send(gossip::Host& host, const gossip::PeerId& to, gossip::MixShare share,
                      SharedBytes payload, double interval) {
    share.sequence = next_sequence_++;
    (void)host.send(to, share, payload);
    pending_.push_back({to, std::move(share), std::move(payload), host.now(), host.now() + interval});
}

void Deliveries::resend(gossip::Host& host, double interval) {
    for (Pending& entry : pending_) {
        if (entry.again > host.now()) continue;
        (void)host.send(entry.to, entry.share, entry.payload);
        entry.again = host.now() + interval;
    }
}

double Deliveries::next_resend() const {
    double next = std::numeric_limits<double>::infinity();
    for (const Pending& entry : pending_) next = std::min(next, entry.again);
    return next;
}

std::optional<Deliveries::Pending> Deliveries::settle(const gossip::PeerId& from,
                                                      const gossip::MixReceipt& receipt) {
    const auto it = std::ranges::find_if(pending_, [&](const Pending& entry) {
        return entry.to == from && entry.share.sequence == receipt.sequence;
    });
    if (it == pending_.end()) return std::nullopt;
    Pending settled = std::move(*it);
    pending_.erase(it);
    return settled;
}

bool Deliveries::taken(const gossip::PeerId& from, std::uint64_t sequence) const {
    const auto sender = taken_.find(from);
    if (sender == taken_.end()) return false;
    const auto& sequences = sender->second;
    return sequences.contains(sequence) || (sequences.size() == kTakenKept && sequence < *sequences.begin());
}

void Deliveries::take(const gossip::PeerId& from, std::uint64_t sequence) {
    auto& sequences = taken_[from];
    sequences.insert(sequence);
    if (sequences.size() > kTakenKept) sequences.erase(sequences.begin());
}

}  // namespace Atoll::federation

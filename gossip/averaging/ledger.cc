#include "gossip/averaging/ledger.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "base/check.h"

namespace Atoll::gossip {

namespace {

// A receiver remembers its decisions this far back in a sender's sequence; a sender that has a share pending
// for half as long sends that peer nothing more, so that no decision is forgotten which could still be asked
// for.
constexpr std::uint64_t kDecisionsKept = 8192;

// A small question must not make us send without end.
constexpr unsigned kResentMax = 6;

}  // namespace

bool sums_before(const Parcel& a, const Parcel& b) {
    const auto key = [](const Parcel& parcel) {
        return std::tuple(parcel.from, parcel.share.round, parcel.share.stage, parcel.share.sequence);
    };
    return key(a) < key(b);
}

void Ledger::begin_round(std::uint64_t round) {
    for (auto& [peer, sender] : senders_) {
        std::erase_if(sender.taken, [&](const auto& taken) { return taken.first + 1 < round; });
    }
}

bool Ledger::can_send(const PeerId& to) const {
    const auto oldest =
        std::ranges::find_if(pending_, [&](const auto& entry) { return entry.second.to == to; });
    return oldest == pending_.end() || next_sequence_ - oldest->first < kDecisionsKept / 2;
}

std::uint64_t Ledger::send(const PeerId& to, MixShare share, SharedBytes payload, double deadline) {
    const std::uint64_t sequence = next_sequence_++;
    share.sequence = sequence;
    pending_.emplace(sequence, Pending{to, {self_, std::move(share), std::move(payload)}, deadline});
    return sequence;
}

void Ledger::unsend(std::uint64_t sequence) { ATOLL_CHECK(pending_.erase(sequence) == 1); }

std::optional<Parcel> Ledger::resend(const PeerId& to, std::uint64_t round, std::uint32_t stage) {
    const auto it = std::ranges::find_if(pending_, [&](const auto& entry) {
        const Pending& pending = entry.second;
        return pending.to == to && pending.parcel.share.round == round && pending.parcel.share.stage == stage;
    });
    if (it == pending_.end() || it->second.resent == kResentMax) return std::nullopt;
    ++it->second.resent;
    return it->second.parcel;
}

bool Ledger::on_receipt(const PeerId& from, const MixReceipt& receipt) {
    const auto it = pending_.find(receipt.sequence);
    if (it == pending_.end() || it->second.to != from) return false;
    if (receipt.kind != ReceiptKind::accepted) at_hand_.push_back(std::move(it->second.parcel));
    pending_.erase(it);
    return true;
}

std::vector<Ledger::Reminder> Ledger::reminders(double now, double interval) {
    std::vector<Reminder> due;
    for (auto& [sequence, entry] : pending_) {
        if (entry.reminder > now) continue;
        entry.reminder = now + interval;
        due.push_back({entry.to, sequence});
    }
    return due;
}

double Ledger::next_reminder() const {
    double next = std::numeric_limits<double>::infinity();
    for (const auto& [sequence, entry] : pending_) next = std::min(next, entry.reminder);
    return next;
}

void Ledger::on_view(const View& view) {
    for (auto it = pending_.begin(); it != pending_.end();) {
        if (view.index_of(it->second.to)) {
            ++it;
        } else {
            at_hand_.push_back(std::move(it->second.parcel));
            it = pending_.erase(it);
        }
    }
}

std::optional<MixReceipt> Ledger::decided(const PeerId& from, std::uint64_t sequence) const {
    const auto sender = senders_.find(from);
    if (sender == senders_.end()) return std::nullopt;
    const auto& decisions = sender->second.decisions;
    if (const auto it = decisions.find(sequence); it != decisions.end()) return it->second;
    if (decisions.empty() || decisions.rbegin()->first < sequence + kDecisionsKept) return std::nullopt;
    return MixReceipt{sequence, ReceiptKind::refused, "sequence is too old"};
}

bool Ledger::took(const PeerId& from, std::uint64_t round, std::uint32_t stage) const {
    const auto sender = senders_.find(from);
    return sender != senders_.end() && sender->second.taken.contains({round, stage});
}

MixReceipt Ledger::decide(const PeerId& from, MixReceipt receipt) {
    ATOLL_CHECK(!decided(from, receipt.sequence));
    auto& decisions = senders_[from].decisions;
    decisions.emplace(receipt.sequence, receipt);
    const std::uint64_t newest = decisions.rbegin()->first;
    while (decisions.begin()->first + kDecisionsKept <= newest) decisions.erase(decisions.begin());
    return receipt;
}

MixReceipt Ledger::accept(Parcel parcel) {
    const MixReceipt receipt = decide(parcel.from, {parcel.share.sequence, ReceiptKind::accepted, ""});
    senders_[parcel.from].taken.insert({parcel.share.round, parcel.share.stage});
    at_hand_.push_back(std::move(parcel));
    return receipt;
}

MixReceipt Ledger::refuse(const PeerId& from, std::uint64_t sequence, std::string reason) {
    return decide(from, {sequence, ReceiptKind::refused, std::move(reason)});
}

bool Ledger::hold(Parcel parcel, std::size_t held_max) {
    const auto same = [&](const Parcel& held) {
        return held.from == parcel.from && held.share.sequence == parcel.share.sequence;
    };
    if (std::ranges::any_of(held_, same)) return true;
    if (held_.size() >= held_max) return false;
    held_.push_back(std::move(parcel));
    return true;
}

std::vector<Parcel> Ledger::release(std::uint64_t round) {
    std::vector<Parcel> released;
    std::erase_if(held_, [&](Parcel& parcel) {
        if (parcel.share.round > round) return false;
        released.push_back(std::move(parcel));
        return true;
    });
    return released;
}

MixReceipt Ledger::on_withdraw(const PeerId& from, std::uint64_t sequence) {
    if (auto said = decided(from, sequence)) return *said;
    std::erase_if(held_,
                  [&](const Parcel& held) { return held.from == from && held.share.sequence == sequence; });
    return decide(from, {sequence, ReceiptKind::withdrawn, ""});
}

std::vector<Parcel> Ledger::collect(std::uint64_t round, std::uint32_t stage) {
    std::vector<Parcel> due;
    std::erase_if(at_hand_, [&](Parcel& parcel) {
        const bool early = std::pair(parcel.share.round, parcel.share.stage) > std::pair(round, stage);
        if (early && parcel.from != self_) return false;
        due.push_back(std::move(parcel));
        return true;
    });
    std::ranges::sort(due, sums_before);
    return due;
}

}  // namespace Atoll::gossip

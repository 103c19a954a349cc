// The bookkeeping of push-sum: a pure state machine that knows where every bit of mass is, so that none is
// lost or counted twice whatever the network does. No clock, no host, no arithmetic on vectors.
//
// The life of a share: sent -> pending at the sender until a receipt says what became of it:
//     accepted           the receiver owns its mass
//     refused, withdrawn the receiver never will: the mass comes home to the sender
// Past its deadline the sender asks for it back (MixWithdraw), again and again; a receiver that has not taken
// the share promises never to. If the receiver leaves the view the mass comes home without an answer. A
// receiver decides about each (sender, sequence) once and repeats its receipt when asked again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gossip/message.h"
#include "gossip/view.h"

namespace Atoll::gossip {

// Mass on its way into an accumulation: share.weight times the decoded payload.
struct Parcel {
    PeerId from;  // ourselves: mass that was kept or came home
    MixShare share;
    SharedBytes payload;
};

class Ledger {
  public:
    // Sequences rise from `first_sequence`; a later incarnation of the same peer must start higher.
    Ledger(PeerId self, std::uint64_t first_sequence) : self_(self), next_sequence_(first_sequence) {}

    // Forgets which shares of rounds before the previous one were taken.
    void begin_round(std::uint64_t round);

    // ---- what we send ----

    // False while a share to this peer has been pending for so long that the peer may have forgotten its
    // decision.
    [[nodiscard]] bool can_send(const PeerId& to) const;
    // Records a share as pending, and returns the sequence to send it under. share.sequence is ignored.
    std::uint64_t send(const PeerId& to, MixShare share, SharedBytes payload, double deadline);
    // The share never left: it is as if send() had not been called.
    void unsend(std::uint64_t sequence);
    // The share of (round, stage) that is pending with this peer, to be sent again as it was: a peer that
    // took the first one knows its sequence. Nothing if there is none, or it has been sent again often
    // enough.
    [[nodiscard]] std::optional<Parcel> resend(const PeerId& to, std::uint64_t round, std::uint32_t stage);
    // True if it settled a share that was pending with this peer.
    bool on_receipt(const PeerId& from, const MixReceipt& receipt);
    struct Reminder {
        PeerId to;
        std::uint64_t sequence = 0;
    };
    // Pending shares past their deadline, each to be withdrawn now; they come up again `interval` later.
    [[nodiscard]] std::vector<Reminder> reminders(double now, double interval);
    // When reminders() will next have something; infinity if nothing is pending.
    [[nodiscard]] double next_reminder() const;
    // Mass pending with peers that are not in the view comes home.
    void on_view(const View& view);
    [[nodiscard]] std::size_t pending() const { return pending_.size(); }

    // ---- what we get ----

    // What has been decided about a share, to be said again.
    [[nodiscard]] std::optional<MixReceipt> decided(const PeerId& from, std::uint64_t sequence) const;
    // Whether this sender's share of (round, stage) has been accepted: there can be only one.
    [[nodiscard]] bool took(const PeerId& from, std::uint64_t round, std::uint32_t stage) const;
    // Precondition of the three: !decided(...).
    MixReceipt accept(Parcel parcel);
    MixReceipt refuse(const PeerId& from, std::uint64_t sequence, std::string reason);
    // Keeps a share of a future round undecided; the same one again changes nothing. False if it is one too
    // many.
    bool hold(Parcel parcel, std::size_t held_max);
    // The held shares of rounds up to `round`, which are held no more.
    [[nodiscard]] std::vector<Parcel> release(std::uint64_t round);
    // The sender wants a share back: the decision, which is "withdrawn" unless it was made before.
    MixReceipt on_withdraw(const PeerId& from, std::uint64_t sequence);

    // ---- mass at hand ----

    // Accepted parcels up to (round, stage) and all mass that came home, in the order in which it is to be
    // summed: by sender, round, stage, sequence, whatever the order of arrival.
    [[nodiscard]] std::vector<Parcel> collect(std::uint64_t round, std::uint32_t stage);

  private:
    struct Pending {
        PeerId to;
        Parcel parcel;
        double reminder = 0;
        unsigned resent = 0;
    };
    struct Sender {
        std::map<std::uint64_t, MixReceipt> decisions;            // by sequence, the newest ones
        std::set<std::pair<std::uint64_t, std::uint32_t>> taken;  // (round, stage)
    };

    MixReceipt decide(const PeerId& from, MixReceipt receipt);

    PeerId self_;
    std::uint64_t next_sequence_;
    std::map<std::uint64_t, Pending> pending_;  // by sequence
    std::map<PeerId, Sender> senders_;
    std::vector<Parcel> held_;
    std::vector<Parcel> at_hand_;
};

// The order of summation.
[[nodiscard]] bool sums_before(const Parcel& a, const Parcel& b);

}  // namespace Atoll::gossip

// Membership: who belongs to the run and is there. A pure state machine: messages and ticks go in, orders for
// the host come out; run_membership() (gossip/run_membership.h) carries them out.
//
// Every member sends every other a heartbeat each second. A heartbeat makes the sender's MemberRecord
// (certificate, address, incarnation, signed) and brings records of some others, so that everybody hears of
// everybody. Who is heard of is in the view; who is known by record alone is dialled, and enters the view
// with its first heartbeat. A silent member leaves the view and goes on being dialled: partitions heal by
// themselves.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gossip/admission.h"
#include "gossip/failure_detector.h"
#include "gossip/message.h"
#include "gossip/view.h"

namespace Atoll::gossip {

struct MembershipOptions {
    double heartbeat_seconds = 1;
    int suspect_misses = 3;
    double dead_seconds = 10;
    std::size_t records_per_heartbeat = 4;  // of others, in turn; at most kRecordsPerHeartbeatMax
    std::string run_config;                 // handed to newcomers; empty: this node lets nobody in
    std::string region;                     // label of the region this node is in (check_region), or empty
};

struct Instant {
    double now = 0;        // Host::now()
    double unix_time = 0;  // Host::unix_time(), for expiry dates only
};

// What the host shall do, in this order.
struct Orders {
    struct Outgoing {
        PeerId to;
        Body body;
    };
    std::vector<Contact> connect;    // Host::connect; an empty address: let it in, do not dial
    std::vector<PeerId> disconnect;  // no member any more
    std::vector<Outgoing> messages;
    std::optional<View> view;        // the new view, if it changed
    std::vector<std::string> notes;  // for the log
};

// One line of `atoll status`.
struct MemberStatus {
    PeerId peer;
    std::string name;
    std::string address;
    std::string region;  // or empty
    std::string state;   // "alive", "suspect", "dead", "known" (never heard of), "left"
    Role role = Role::peer;
    std::uint64_t incarnation = 0;
    double silence_seconds = 0;  // since the last heartbeat, 0 if there was none
    ProgressMade progress;       // as of that heartbeat
};

class Membership {
  public:
    // `identity` outlives the object. Preconditions: the certificate is the identity's and holds; name and
    // address are valid (validate.h, parse_address; the address may be empty).
    Membership(const Identity& identity, Authority authority, Certificate certificate, std::string name,
               std::string address, std::uint64_t incarnation, MembershipOptions options);

    // Records from a join reply or a saved peer table. Bad ones are noted and skipped.
    [[nodiscard]] Orders learn(const std::vector<Bytes>& records, Instant at);
    // A message of Topic::membership whose sender the host has proven.
    [[nodiscard]] Orders handle(const Message& message, Instant at);
    // Due at next_tick(), harmless at any other time.
    [[nodiscard]] Orders tick(Instant at);
    [[nodiscard]] double next_tick() const { return next_tick_; }
    // Goodbye to everybody; the last orders to carry out.
    [[nodiscard]] Orders leave(const std::string& reason) const;

    [[nodiscard]] const View& view() const { return view_; }
    [[nodiscard]] std::vector<MemberStatus> members(double now) const;
    // Encoded records for the saved peer table, the own one first. Who left is among them: its use of an
    // invite must not be forgotten.
    [[nodiscard]] std::vector<Bytes> records() const;

  private:
    struct Member {
        MemberRecord record;
        Bytes encoded;
        bool in_view = false;
        bool left = false;  // said goodbye: only a word of its own brings it back, no record passed on
        ProgressMade progress;
    };

    void handle_heartbeat(const PeerId& sender, const Heartbeat& beat, Instant at, Orders& orders);
    void handle_leave(const PeerId& sender, const Leave& leave, Orders& orders);
    void handle_join(const PeerId& sender, const JoinRequest& request, Instant at, Orders& orders);
    void absorb_all(std::vector<Bytes> records, Instant at, Orders& orders);
    // Takes in one record. Returns the member if the record is now the one we hold (new, newer, or the same
    // again).
    Member* absorb(ByteView encoded, Instant at, Orders& orders);
    [[nodiscard]] bool make_room();
    void welcome_back(Member& member, Orders& orders);
    void note_once(const PeerId& peer, std::string note, Orders& orders);
    void rise_above(std::uint64_t incarnation);
    void remove(const PeerId& peer, Orders& orders);
    // Also for a member that stays, but in another region.
    void change_view(const PeerId& peer, bool in_view, const std::string& reason, Orders& orders);
    // For newcomers: the own one, members in the view, then the silent ones.
    [[nodiscard]] std::vector<Bytes> present_records() const;
    [[nodiscard]] Heartbeat heartbeat(std::vector<Bytes> others) const;
    [[nodiscard]] std::vector<Bytes> records_in_turn();
    void send_to_all(const Heartbeat& beat, Orders& orders) const;

    const Identity& identity_;
    Authority authority_;
    MembershipOptions options_;
    MemberRecord self_;
    ProgressMade progress_;
    TokenLedger ledger_;
    FailureDetector detector_;
    std::map<PeerId, Member> members_;  // all but ourselves
    std::set<PeerId> noted_;            // whom a note has been made about: a log line a second helps nobody
    PeerId turn_;                       // the last member whose record went out
    double next_tick_ = 0;
    View view_;
};

}  // namespace Atoll::gossip

#include "gossip/membership.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "gossip/limits.h"

namespace Atoll::gossip {

namespace {
std::string who(const MemberRecord& record) {
    return fmt::format("{} ({})", record.name, record.member().short_name());
}

// A grant without contacts is of no invite: the owner made it for the node itself (certify_first).
Standing standing_of(const Grant& grant) {
    if (grant.role == Role::client) return Standing::client;
    return grant.contacts == Hash{} ? Standing::founder : Standing::peer;
}
}  // namespace

Membership::Membership(const Identity& identity, Authority authority, Certificate certificate,
                       std::string name, std::string address, std::uint64_t incarnation,
                       MembershipOptions options)
    : identity_(identity),
      authority_(authority),
      options_(std::move(options)),
      self_(make_member_record(identity, certificate, std::move(name), std::move(address), incarnation,
                               options_.region)),
      detector_(options_.heartbeat_seconds * options_.suspect_misses, options_.dead_seconds) {
    ATOLL_CHECK(options_.records_per_heartbeat <= kRecordsPerHeartbeatMax);
    ATOLL_CHECK(options_.run_config.size() <= kRunConfigBytesMax);
    const Status own = ledger_.admit(certificate);
    ATOLL_CHECK(own.ok());
    view_.members = {identity.id()};
    view_.regions = {self_.region};
    view_.standings = {standing_of(certificate.grant)};
    view_.reason = "started";
}

Orders Membership::learn(const std::vector<Bytes>& records, Instant at) {
    Orders orders;
    absorb_all(records, at, orders);
    return orders;
}

Orders Membership::handle(const Message& message, Instant at) {
    Orders orders;
    if (const auto* beat = std::get_if<Heartbeat>(&message.body)) {
        handle_heartbeat(message.sender, *beat, at, orders);
    } else if (const auto* leave = std::get_if<Leave>(&message.body)) {
        handle_leave(message.sender, *leave, orders);
    } else if (const auto* request = std::get_if<JoinRequest>(&message.body)) {
        handle_join(message.sender, *request, at, orders);
    } else if (const auto* progress = std::get_if<ProgressMade>(&message.body)) {
        const double loss_before = progress_.loss;
        progress_ = *progress;
        if (!std::isfinite(progress_.loss))
            progress_.loss = loss_before;  // heartbeats carry finite numbers only
    }
    return orders;
}

void Membership::handle_heartbeat(const PeerId& sender, const Heartbeat& beat, Instant at, Orders& orders) {
    if (sender == identity_.id()) return;
    Member* member = absorb(join_member_record(beat.certificate, beat.incarnation, beat.name, beat.address,
                                               beat.region, beat.statement),
                            at, orders);
    if (member == nullptr) {
        // Not newer than what we hold: its clock went back, or it restarted within a second. Show it the
        // record that it must rise above.
        if (const auto known = members_.find(sender);
            known != members_.end() && known->second.record.incarnation >= beat.incarnation) {
            orders.messages.push_back({sender, heartbeat({known->second.encoded})});
        }
        return;
    }
    if (member->record.member() != sender) {
        note_once(
            sender,
            fmt::format("refused: {} sent the heartbeat of {}", sender.short_name(), who(member->record)),
            orders);
        return;
    }
    detector_.heard(sender, at.now);
    if (member->left) welcome_back(*member, orders);
    member->progress = {beat.round, beat.step, beat.tokens, beat.loss};
    if (!member->in_view) change_view(sender, true, who(member->record) + " is here", orders);
    absorb_all(beat.others, at, orders);
}

void Membership::handle_leave(const PeerId& sender, const Leave& leave, Orders& orders) {
    const auto found = members_.find(sender);
    if (found == members_.end() || found->second.left) return;
    found->second.left = true;
    detector_.forget(sender);
    orders.connect.push_back({sender, ""});  // it may come back, and will dial us
    if (found->second.in_view) {
        change_view(sender, false, fmt::format("{} left: {}", who(found->second.record), leave.reason),
                    orders);
    }
}

void Membership::handle_join(const PeerId& sender, const JoinRequest& request, Instant at, Orders& orders) {
    JoinReply reply;
    Member* member = nullptr;
    if (options_.run_config.empty()) {
        reply.reason = self_.name + " lets nobody in: turn to the node that issued the invite";
    } else if (const auto record = judge_join(request, sender, authority_, ledger_, at.unix_time);
               !record.ok()) {
        reply.reason = record.error().message.substr(0, kReasonBytesMax);
    } else {
        member = absorb(request.record, at, orders);
        if (member != nullptr && member->left) welcome_back(*member, orders);
        if (member == nullptr)
            reply.reason = "there is no room for another member, or a newer record of yours is known";
    }
    orders.notes.push_back(member != nullptr
                               ? "let in " + who(member->record)
                               : fmt::format("refused {}: {}", sender.short_name(), reply.reason));
    if (member != nullptr) {
        reply.accepted = true;
        reply.run_config = options_.run_config;
        reply.records = present_records();
        reply.records.resize(std::min(reply.records.size(), kRecordsPerJoinReplyMax));
        send_to_all(heartbeat({member->encoded}), orders);  // so that the others let it in when it dials them
    }
    orders.messages.push_back({sender, std::move(reply)});
}

void Membership::absorb_all(std::vector<Bytes> records, Instant at, Orders& orders) {
    // In ascending order of the member's key, so that nodes which are shown the same records decide alike who
    // was first to use a token.
    std::ranges::sort(records, {}, [](const Bytes& record) {
        const std::size_t key = std::min(Grant::kBytes, record.size());
        return Bytes(record.begin() + static_cast<std::ptrdiff_t>(key), record.end());
    });
    for (const Bytes& record : records) absorb(record, at, orders);
}

Membership::Member* Membership::absorb(ByteView encoded, Instant at, Orders& orders) {
    // Who it is about, before three signatures are verified: most records are ones that we hold already.
    if (encoded.size() < Certificate::kBytes) return nullptr;
    PeerId peer;
    std::ranges::copy(encoded.subspan(Grant::kBytes, sizeof(PeerId)), peer.key.begin());
    const auto known = members_.find(peer);
    if (known != members_.end() && std::ranges::equal(known->second.encoded, encoded)) {
        return &known->second;
    }
    Result<MemberRecord> record = MemberRecord::decode(encoded);
    Status status = record.ok() ? check_certificate(record->certificate, authority_, at.unix_time)
                                : Status(record.error());
    if (status.ok() && peer == identity_.id()) {
        // Ours, but of another start: others hold it against our heartbeats unless we rise above it.
        if (record->incarnation >= self_.incarnation && !std::ranges::equal(self_.encode(), encoded)) {
            rise_above(record->incarnation);
        }
        return nullptr;
    }
    if (status.ok()) status = ledger_.check(record->certificate);
    if (!status.ok()) {
        note_once(peer,
                  fmt::format("refused the record of {}: {}", peer.short_name(), status.error().message),
                  orders);
        return nullptr;
    }
    const bool is_new = known == members_.end();
    // Two records of one incarnation: the first one holds.
    if (!is_new && record->incarnation <= known->second.record.incarnation) return nullptr;
    if (is_new && !make_room()) {
        note_once(peer, fmt::format("no room for {}: {} members are known", who(*record), members_.size()),
                  orders);
        return nullptr;
    }
    const Status admitted = ledger_.admit(record->certificate);
    ATOLL_CHECK(admitted.ok());
    Member& member = members_[peer];
    if (is_new || member.left || member.record.address != record->address) {
        orders.connect.push_back({peer, record->address});
    }
    const bool moved = member.in_view && member.record.region != record->region;
    member.record = std::move(*record);
    member.encoded.assign(encoded.begin(), encoded.end());
    member.left = false;
    if (moved) {
        change_view(peer, true,
                    fmt::format("{} is in region {} now", who(member.record), member.record.region), orders);
    }
    return &member;
}

void Membership::welcome_back(Member& member, Orders& orders) {
    member.left = false;
    orders.connect.push_back({member.record.member(), member.record.address});
}

void Membership::note_once(const PeerId& peer, std::string note, Orders& orders) {
    if (noted_.size() >= kMembersMax) noted_.clear();
    if (noted_.insert(peer).second) orders.notes.push_back(std::move(note));
}

bool Membership::make_room() {
    if (members_.size() + 1 < kMembersMax) return true;
    return std::erase_if(members_, [](const auto& entry) { return entry.second.left; }) > 0;
}

void Membership::rise_above(std::uint64_t incarnation) {
    self_ = make_member_record(identity_, self_.certificate, self_.name, self_.address, incarnation + 1,
                               self_.region);
}

Orders Membership::tick(Instant at) {
    Orders orders;
    if (at.now < next_tick_) return orders;
    next_tick_ = at.now + options_.heartbeat_seconds;
    if (const Status own = check_certificate(self_.certificate, authority_, at.unix_time); !own.ok()) {
        note_once(identity_.id(), "the others drop us: " + own.error().message + " (join with a new invite)",
                  orders);
    }
    std::vector<PeerId> expired;
    for (auto& [peer, member] : members_) {
        if (const Status holds = check_certificate(member.record.certificate, authority_, at.unix_time);
            !holds.ok()) {
            orders.notes.push_back(
                fmt::format("{} is no member any more: {}", who(member.record), holds.error().message));
            expired.push_back(peer);
        } else if (member.in_view && detector_.state(peer, at.now) == Liveness::dead) {
            change_view(peer, false,
                        fmt::format("{} has not been heard of for {:.1f} s", who(member.record),
                                    detector_.silence(peer, at.now)),
                        orders);
        }
    }
    for (const PeerId& peer : expired) remove(peer, orders);
    send_to_all(heartbeat(records_in_turn()), orders);
    return orders;
}

Orders Membership::leave(const std::string& reason) const {
    Orders orders;
    for (const auto& [peer, member] : members_) {
        if (!member.left) orders.messages.push_back({peer, Leave{reason}});
    }
    return orders;
}

void Membership::remove(const PeerId& peer, Orders& orders) {
    const auto found = members_.find(peer);
    if (found->second.in_view) {
        change_view(peer, false, who(found->second.record) + ": its certificate expired", orders);
    }
    detector_.forget(peer);
    members_.erase(found);
    orders.disconnect.push_back(peer);
}

void Membership::change_view(const PeerId& peer, bool in_view, const std::string& reason, Orders& orders) {
    members_.at(peer).in_view = in_view;
    const auto place = std::ranges::lower_bound(view_.members, peer) - view_.members.begin();
    if (view_.index_of(peer)) {
        view_.members.erase(view_.members.begin() + place);
        view_.regions.erase(view_.regions.begin() + place);
        view_.standings.erase(view_.standings.begin() + place);
    }
    if (in_view) {
        view_.members.insert(view_.members.begin() + place, peer);
        const MemberRecord& record = members_.at(peer).record;
        view_.regions.insert(view_.regions.begin() + place, record.region);
        view_.standings.insert(view_.standings.begin() + place, standing_of(record.certificate.grant));
    }
    ++view_.epoch;
    view_.reason = orders.view ? view_.reason + "; " + reason : reason;
    orders.view = view_;
}

Heartbeat Membership::heartbeat(std::vector<Bytes> others) const {
    return {.incarnation = self_.incarnation,
            .name = self_.name,
            .address = self_.address,
            .round = progress_.round,
            .step = progress_.step,
            .tokens = progress_.tokens,
            .loss = progress_.loss,
            .certificate = self_.certificate.encode(),
            .region = self_.region,
            .statement = self_.signature,
            .others = std::move(others)};
}

std::vector<Bytes> Membership::records_in_turn() {
    std::vector<Bytes> records;
    auto next = members_.upper_bound(turn_);
    for (std::size_t looked_at = 0;
         looked_at < members_.size() && records.size() < options_.records_per_heartbeat;
         ++looked_at, ++next) {
        if (next == members_.end()) next = members_.begin();
        if (!next->second.in_view) continue;  // who is silent or gone is no news worth passing on
        records.push_back(next->second.encoded);
        turn_ = next->first;
    }
    return records;
}

void Membership::send_to_all(const Heartbeat& beat, Orders& orders) const {
    for (const auto& [peer, member] : members_) {
        if (!member.left) orders.messages.push_back({peer, beat});
    }
}

std::vector<MemberStatus> Membership::members(double now) const {
    const auto row = [](const MemberRecord& record, std::string state, double silence,
                        const ProgressMade& progress) {
        return MemberStatus{.peer = record.member(),
                            .name = record.name,
                            .address = record.address,
                            .region = record.region,
                            .state = std::move(state),
                            .role = record.certificate.grant.role,
                            .incarnation = record.incarnation,
                            .silence_seconds = silence,
                            .progress = progress};
    };
    std::vector<MemberStatus> rows{row(self_, "alive", 0, progress_)};
    for (const auto& [peer, member] : members_) {
        static constexpr const char* kNames[] = {"known", "alive", "suspect", "dead"};
        const Liveness state = detector_.state(peer, now);
        rows.push_back(row(member.record, member.left ? "left" : kNames[static_cast<int>(state)],
                           state == Liveness::unheard ? 0 : detector_.silence(peer, now), member.progress));
    }
    return rows;
}

std::vector<Bytes> Membership::records() const {
    std::vector<Bytes> records = present_records();
    for (const auto& [peer, member] : members_) {
        if (member.left) records.push_back(member.encoded);
    }
    return records;
}

std::vector<Bytes> Membership::present_records() const {
    std::vector<Bytes> records{self_.encode()};
    for (const bool in_view : {true, false}) {
        for (const auto& [peer, member] : members_) {
            if (member.in_view == in_view && !member.left) records.push_back(member.encoded);
        }
    }
    return records;
}

}  // namespace Atoll::gossip

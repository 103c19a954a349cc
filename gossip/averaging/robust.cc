#include "gossip/averaging/robust.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "gossip/limits.h"

namespace Atoll::gossip {

namespace {

// A faster peer's shares wait here: of so many rounds ahead, so many of each peer.
constexpr std::uint64_t kRoundsAheadMax = 2;
constexpr std::size_t kEarlyPerMember = 4;

}  // namespace

RobustGossip::RobustGossip(const AveragingContext& context, std::unique_ptr<const Aggregate> aggregate)
    : context_(context), aggregate_(std::move(aggregate)), packing_(context_, kReducePieceValues) {}

std::size_t RobustGossip::stages(const Roster& roster) const {
    if (roster.n < 2) return 0;
    return context_.options.stages > 0 ? static_cast<std::size_t>(context_.options.stages)
                                       : context_.topology.rounds(roster);
}

Result<AverageReport> RobustGossip::average(std::uint64_t round, std::span<AveragePart> parts) {
    const double start = context_.host.now();
    context_.inbox.absorb();
    parts_ = parts;
    round_ = round;
    packing_.begin(round, parts);
    report_ = {.weight = 1, .members = context_.inbox.view().size()};
    if (!std::isfinite(packing_.norm())) return own_values_not_finite(round);
    stage_count_ = stages(context_.inbox.view());
    for (stage_ = 0; stage_ < stage_count_; ++stage_) ATOLL_TRY(run_stage());
    report_.stages = stage_count_;
    report_.seconds = context_.host.now() - start;
    parts_ = {};
    return std::exchange(report_, {});
}

Status RobustGossip::run_stage() {
    const double deadline = context_.host.now() + context_.options.deadline_seconds;
    if (stage_ > 0) packing_.changed();
    const View view = context_.inbox.view();
    const auto me = view.index_of(context_.host.self());
    Exchange exchange;
    if (me && view.size() > 1)
        exchange = context_.topology.exchange(view, *me, round_ * stage_count_ + stage_);
    neighbours_.clear();
    values_.clear();
    for (const Edge& edge : exchange.receive) neighbours_.insert(view.members[edge.member]);
    expected_ = neighbours_;
    const SharedBytes own = send_values(view, exchange);
    // Those of this stage, and what is too old by now, in order.
    while (!early_.empty() && early_.begin()->first < Slot{round_, stage_ + 1, PeerId{}})
        on_share(std::move(early_.extract(early_.begin()).mapped()));
    ATOLL_TRY(wait_for_values(deadline));
    for (const PeerId& peer : expected_) {
        note(fmt::format("{} sent nothing for round {} stage {} within {:.1f} s", peer.short_name(), round_,
                         stage_, context_.options.deadline_seconds));
        report_.complete = false;
    }
    const double heard =
        static_cast<double>(1 + values_.size()) / static_cast<double>(1 + neighbours_.size());
    report_.weight = std::min(report_.weight, heard);
    return aggregate(own);
}

SharedBytes RobustGossip::send_values(const View& view, const Exchange& exchange) {
    MixShare share{.round = round_, .stage = stage_, .weight = 1, .schedule = packing_.schedule()};
    const SharedBytes payload = packing_.pack(share);
    for (const Edge& edge : exchange.send) {
        const PeerId& peer = view.members[edge.member];
        share.sequence = ++sequence_;
        if (const Status sent = context_.host.send(peer, share, payload); sent.ok()) {
            report_.bytes_sent += payload.size();
        } else {
            note(fmt::format("could not send to {}: {}", peer.short_name(), sent.error().message));
        }
    }
    return payload;
}

Status RobustGossip::wait_for_values(double deadline) {
    while (!expected_.empty() && context_.host.now() < deadline && !context_.host.stopping()) {
        if (const auto message = context_.inbox.next(deadline)) handle(*message);
    }
    if (!context_.host.stopping()) return {};
    return Error{ErrorCode::interrupted, fmt::format("stopped while averaging round {}", round_)};
}

Status RobustGossip::aggregate(const SharedBytes& own) {
    if (values_.empty()) return {};  // nobody was heard: ours stand, without the codec's rounding
    values_[context_.host.self()] = own;
    std::vector<ByteView> payloads;
    for (const auto& [peer, payload] : values_) payloads.push_back(payload.view());
    const std::span<const Packing::Piece> pieces = packing_.pieces();
    for (auto first = pieces.begin(); first != pieces.end();) {
        const auto last =
            std::find_if(first, pieces.end(), [&](const auto& piece) { return piece.part != first->part; });
        Opinions opinions(parts_[first->part], {first, last}, payloads, rows_);
        ATOLL_TRY(aggregate_->apply(opinions));
        first = last;
    }
    return {};
}

void RobustGossip::handle(const Message& message) {
    if (const auto* share = std::get_if<MixShare>(&message.body)) {
        on_share({message.sender, *share, message.payload});
    } else if (std::holds_alternative<ViewChanged>(message.body)) {
        on_view_changed();
    }
}

void RobustGossip::on_share(Share share) {
    const auto when = std::pair(share.body.round, share.body.stage);
    if (when > std::pair(round_, stage_)) return keep_early(std::move(share));
    const std::string sender = share.from.short_name();
    if (when < std::pair(round_, stage_)) {
        return note(fmt::format("a share of {} for round {} stage {} came too late", sender, when.first,
                                when.second));
    }
    expected_.erase(share.from);
    if (const std::string reason = objection(share); !reason.empty()) {
        note(fmt::format("refused a share of {}: {}", sender, reason));
        report_.complete = false;
        return;
    }
    values_.emplace(share.from, std::move(share.payload));
}

void RobustGossip::keep_early(Share share) {
    const auto of_sender = std::ranges::count_if(
        early_, [&](const auto& entry) { return std::get<PeerId>(entry.first) == share.from; });
    const bool fits = share.body.round <= round_ + kRoundsAheadMax &&
                      context_.inbox.view().index_of(share.from).has_value() &&
                      static_cast<std::size_t>(of_sender) < kEarlyPerMember;
    if (!fits) {
        return note(fmt::format("refused a share of {}: round {} stage {} is too far ahead of round {}",
                                share.from.short_name(), share.body.round, share.body.stage, round_));
    }
    const Slot slot{share.body.round, share.body.stage, share.from};
    early_.emplace(slot, std::move(share));  // the first one, if there are two
}

std::string RobustGossip::objection(const Share& share) {
    if (!neighbours_.contains(share.from)) {
        return fmt::format("our schedule does not have it in round {} stage {}", round_, stage_);
    }
    if (values_.contains(share.from)) {
        return fmt::format("a second share for round {} stage {}", round_, stage_);
    }
    if (share.body.weight != 1) {
        return fmt::format("weight {}, but everybody has one voice", share.body.weight);
    }
    return packing_.objection(share.body, share.payload.view());
}

void RobustGossip::on_view_changed() {
    const View& view = context_.inbox.view();
    std::erase_if(expected_, [&](const PeerId& peer) {
        if (view.index_of(peer)) return false;
        note(fmt::format("{} left during round {} stage {}: {}", peer.short_name(), round_, stage_,
                         view.reason));
        report_.complete = false;
        return true;
    });
}

void RobustGossip::note(std::string reason) {
    if (std::ranges::find(report_.reasons, reason) == report_.reasons.end())
        report_.reasons.push_back(std::move(reason));
}

}  // namespace Atoll::gossip

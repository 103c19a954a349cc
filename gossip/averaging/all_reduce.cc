#include "gossip/averaging/all_reduce.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "gossip/averaging/entries.h"
#include "gossip/averaging/packing.h"
#include "gossip/limits.h"

namespace Atoll::gossip {

namespace {

constexpr double kQueueFullSeconds = 0.001;

Hash digest_of(std::span<const AveragePart> parts) {
    HashStream hash;
    for (const AveragePart& part : parts) {
        const std::uint64_t words[] = {part.codec->wire_id(), part.values.size(),
                                       part.codec->encoded_bytes(part.values.size()),
                                       part.step == nullptr ? 0U : 1U};
        hash.update(std::as_bytes(std::span(words)));
    }
    return hash.finish();
}

}  // namespace

Result<AverageReport> AllReduce::average(std::uint64_t round, std::span<AveragePart> parts) {
    const double start = context_.host.now();
    begin(round, parts);
    if (!std::isfinite(norm_)) return own_values_not_finite(round);
    if (report_.members < 2) {
        report_.weight = 1;
        report_.agreed = true;
        if (step_ != nullptr) step_alone();
        return std::exchange(report_, {});
    }
    report_.weight = 1 / double(report_.members);
    end_ = start + context_.options.deadline_seconds;
    gather(0);
    for (auto& [peer, ready] : std::exchange(early_, {})) on_ready(peer, ready);
    while (phase_ != Phase::finished && context_.host.now() < end_ && !context_.host.stopping()) {
        if (context_.host.now() >= next_tick_) tick();
        pump();
        if (phase_ == Phase::finished) break;
        double wait = std::min(end_, next_tick_);
        if (!outgoing_.empty()) wait = std::min(wait, context_.host.now() + kQueueFullSeconds);
        if (const auto message = context_.inbox.next(wait)) handle(*message);
    }
    if (context_.host.stopping()) {
        return Error{ErrorCode::interrupted, fmt::format("stopped while averaging round {}", round)};
    }
    if (!committed_ || committed_->round != round_) {
        report_.complete = false;
        note(fmt::format("round {} was not committed within {:.1f} s{}: our values stay as they were", round_,
                         context_.options.deadline_seconds,
                         in_doubt_ || phase_ == Phase::voted ? ", others may have committed it" : ""));
        group_.clear();
    }
    phase_ = Phase::finished;
    report_.seconds = context_.host.now() - start;
    pieces_.clear();
    outgoing_.clear();
    next_payload_ = {};
    parts_ = {};
    return std::exchange(report_, {});
}

void AllReduce::begin(std::uint64_t round, std::span<AveragePart> parts) {
    context_.inbox.absorb();
    parts_ = parts;
    step_ = parts.empty() ? nullptr : parts.front().step;
    ATOLL_CHECK(step_ == nullptr || parts.size() == 1);
    if (step_ != nullptr && group_.empty()) forget_what_came();
    round_ = round;
    asked_ = round;
    report_ = {.members = context_.inbox.view().size()};
    offsets_.clear();
    lost_.clear();
    ready_.clear();
    in_doubt_ = false;
    if (committed_ && committed_->round >= round) committed_.reset();
    std::size_t total = 0;
    bool feedback = false;
    for (const AveragePart& part : parts) {
        offsets_.push_back(total);
        total += part.values.size();
        feedback = feedback || !part.residuals.empty();
    }
    norm_ = norm_of(parts);
    digest_ = digest_of(parts);
    if (result_.span().size() < total) result_ = kernels::FlatBuffer(total);
    if (feedback && residual_.span().size() < total) residual_ = kernels::FlatBuffer(total);
}

void AllReduce::tick() {
    const double now = context_.host.now();
    next_tick_ = now + kTick * context_.options.deadline_seconds;
    if (phase_ == Phase::gathering) {
        const double grace = coordinates() ? 0 : kGrace * context_.options.deadline_seconds;
        const bool in_time = now < gathering_until_ + grace;
        if (step_ != nullptr) announce();
        if (coordinates()) return consider_plan(in_time);
        // In doubt, silence may mean that it has committed and returned: we keep asking.
        if (!in_time && !in_doubt_) {
            const PeerId silent = coordinator();
            lost_.insert(silent);
            note(fmt::format("{} does not coordinate round {}", silent.short_name(), round_));
            gather(attempt_ + 1);
            if (coordinates()) return consider_plan(true);
        }
        return say(coordinator(), own_ready());
    }
    tick_reducing();
}

void AllReduce::tick_reducing() {
    const double patience = kPatience * context_.options.deadline_seconds;
    const double late = context_.host.now() - patience;
    if (phase_ == Phase::deciding) {
        // Those that do not answer have returned, or are gone; what was decided stays.
        if (started_ < late) phase_ = Phase::finished;
        for (std::size_t i = 0; i < peers_.size(); ++i) {
            if (i != me_ && !peers_[i].acknowledged) say(plan_.members[i].id, vote(ReduceVerdict::committed));
        }
        return;
    }
    std::vector<ReduceRequest> contributions(peers_.size(), {round_, attempt_, false, {}});
    std::vector<ReduceRequest> results(peers_.size(), {round_, attempt_, true, {}});
    for (std::uint32_t i = 0; i < pieces_.size(); ++i) {
        const Piece& piece = pieces_[i];
        if (piece.complete) continue;
        if (piece.owner != me_) {
            if (results[piece.owner].pieces.size() < kReduceRequestPiecesMax)
                results[piece.owner].pieces.push_back(i);
            continue;
        }
        for (std::size_t m = 0; m < peers_.size(); ++m) {
            if (m != me_ && m >= piece.summed && piece.contributions[m].empty() && scale(m) > 0 &&
                contributions[m].pieces.size() < kReduceRequestPiecesMax) {
                contributions[m].pieces.push_back(i);
            }
        }
    }
    if (step_ != nullptr && incomplete_ > 0 && totals_[me_]) {
        for (std::size_t m = 0; m < peers_.size(); ++m) {
            if (m != me_) say(plan_.members[m].id, ReduceTotal{round_, attempt_, *totals_[me_]});
        }
    }
    const double now = context_.host.now();
    const double quiet = kTick * context_.options.deadline_seconds;
    for (std::size_t m = 0; m < peers_.size(); ++m) {
        if (m == me_) continue;
        const PeerId& peer = plan_.members[m].id;
        const bool waiting = !contributions[m].pieces.empty() || !results[m].pieces.empty() ||
                             (planner_ == context_.host.self() ? !peers_[m].vote : peer == planner_);
        if (!waiting) continue;
        // Who has voted gives the coordinator up only when it leaves the view: it may have decided.
        const bool bound = phase_ == Phase::voted && peer == planner_ && step_ == nullptr;
        if (peers_[m].heard < late && !bound)
            return fail(peer, fmt::format("nothing came from it for {:.1f} s", patience));
        if (!contributions[m].pieces.empty() && peers_[m].contributed < late)
            return fail(peer, fmt::format("it contributed nothing for {:.1f} s", patience));
        // While pieces flow nothing is asked for: they may be on their way.
        if (peers_[m].heard > now - quiet) {
            peers_[m].asked = 0;
            continue;
        }
        // Ever more rarely, so that a slow link is not filled with copies.
        if (now < peers_[m].ask_at) continue;
        peers_[m].ask_at = now + quiet * ++peers_[m].asked;
        if (!contributions[m].pieces.empty()) say(peer, std::move(contributions[m]));
        // Without pieces it asks for a sign of life.
        say(peer, std::move(results[m]));
    }
    if (phase_ == Phase::voted) say(planner_, vote(ReduceVerdict::done));
}

// Sends until a queue is full or something has arrived that may be summed meanwhile.
void AllReduce::pump() {
    while (!outgoing_.empty() && phase_ != Phase::gathering) {
        const Outgoing next = outgoing_.front();
        if (next_payload_.empty()) {
            next_payload_ = next.result ? pieces_[next.piece].encoded : encode_contribution(next.piece);
        }
        const Status sent = context_.host.send(
            plan_.members[next.to].id, ReduceChunk{round_, attempt_, next.piece, next.result}, next_payload_);
        if (!sent.ok() && sent.error().code == ErrorCode::unavailable) {
            // To the end, so that one slow or lost peer does not hold up the others; its payload is encoded
            // again, which is cheaper than keeping it.
            outgoing_.push_back(next);
            outgoing_.pop_front();
            next_payload_ = {};
            return;
        }
        if (sent.ok()) {
            report_.bytes_sent += next_payload_.size();
            attempt_bytes_ += next_payload_.size();
        } else {
            note(fmt::format("could not send to {}: {}", plan_.members[next.to].id.short_name(),
                             sent.error().message));
        }
        next_payload_ = {};
        outgoing_.pop_front();
        const auto message = context_.inbox.next(context_.host.now());
        if (message) handle(*message);
    }
}

void AllReduce::handle(const Message& message) {
    if (std::holds_alternative<ViewChanged>(message.body)) return on_view_changed();
    // Totals come again and again: who sends nothing else may well be asked for pieces.
    if (phase_ != Phase::gathering && !std::holds_alternative<ReduceTotal>(message.body)) {
        if (const auto from = index_of(message.sender)) peers_[*from].heard = context_.host.now();
    }
    // A coordinator that lives may still be busy with the round before.
    if (phase_ == Phase::gathering && step_ != nullptr && message.sender == coordinator()) {
        const double patience = kPatience * context_.options.deadline_seconds;
        gathering_until_ = std::max(gathering_until_, context_.host.now() + patience);
    }
    if (const auto* ready = std::get_if<ReduceReady>(&message.body)) {
        on_ready(message.sender, *ready);
    } else if (const auto* plan = std::get_if<ReducePlan>(&message.body)) {
        on_plan(message.sender, *plan);
    } else if (const auto* chunk = std::get_if<ReduceChunk>(&message.body)) {
        on_chunk(message.sender, *chunk, message.payload);
    } else if (const auto* request = std::get_if<ReduceRequest>(&message.body)) {
        on_request(message.sender, *request);
    } else if (const auto* vote = std::get_if<ReduceVote>(&message.body)) {
        on_vote(message.sender, *vote);
    } else if (const auto* total = std::get_if<ReduceTotal>(&message.body)) {
        on_total(message.sender, *total);
    }
}

void AllReduce::on_chunk(const PeerId& from, const ReduceChunk& chunk, const SharedBytes& payload) {
    const auto sender = index_of(from);
    if (!current(chunk.round, chunk.attempt) || !sender || chunk.piece >= pieces_.size()) return;
    Piece& piece = pieces_[chunk.piece];
    if (piece.complete) return;
    if (chunk.result) {
        if (piece.owner == *sender && *sender != me_) take_result(chunk.piece, payload);
        return;
    }
    if (piece.owner != me_ || *sender == me_ || scale(*sender) == 0 || !piece.contributions[*sender].empty())
        return;
    piece.contributions[*sender] = payload;
    peers_[*sender].contributed = context_.host.now();
    sum(chunk.piece);
}

void AllReduce::on_request(const PeerId& from, const ReduceRequest& request) {
    const auto asker = index_of(from);
    if (phase_ != Phase::gathering && planner_ == context_.host.self() && request.round == round_ && asker &&
        request.attempt < attempt_) {
        return say(from, plan_);
    }
    if (!current(request.round, request.attempt) || !asker || *asker == me_) return;
    bool answered = false;
    for (const std::uint32_t i : request.pieces) {
        if (i >= pieces_.size()) continue;
        const bool have = request.result ? !pieces_[i].encoded.empty() : pieces_[i].owner == *asker;
        const bool queued = std::ranges::any_of(outgoing_, [&](const Outgoing& out) {
            return out.to == *asker && out.piece == i && out.result == request.result;
        });
        if (have && !queued) outgoing_.push_back({*asker, i, request.result});
        answered = answered || have;
    }
    // A bare sign of life is not answered by another one.
    if (!answered && request.result) say(from, ReduceRequest{round_, attempt_, false, {}});
}

void AllReduce::on_view_changed() {
    const View& view = context_.inbox.view();
    if (phase_ == Phase::gathering) {
        next_tick_ = context_.host.now();
        return;
    }
    for (const ReduceMember& member : plan_.members) {
        if (view.index_of(member.id)) continue;
        if (phase_ == Phase::deciding) {
            peers_[*index_of(member.id)].acknowledged = true;
            decide();
        } else {
            fail(member.id, "it left: " + view.reason);
        }
        return;
    }
}

bool AllReduce::current(std::uint64_t round, std::uint32_t attempt) const {
    return phase_ != Phase::gathering && round == round_ && attempt == attempt_;
}

std::optional<std::size_t> AllReduce::index_of(const PeerId& peer) const {
    const auto it = std::ranges::lower_bound(plan_.members, peer, {}, &ReduceMember::id);
    if (it == plan_.members.end() || it->id != peer) return std::nullopt;
    return static_cast<std::size_t>(it - plan_.members.begin());
}

void AllReduce::note(std::string reason) {
    if (std::ranges::find(report_.reasons, reason) == report_.reasons.end())
        report_.reasons.push_back(std::move(reason));
    report_.complete = false;
}

std::unique_ptr<Averaging> make_all_reduce(const AveragingContext& context) {
    return std::make_unique<AllReduce>(context);
}

}  // namespace Atoll::gossip

#include "gossip/averaging/all_reduce.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gossip/averaging/entries.h"
#include "gossip/averaging/shares.h"
#include "gossip/limits.h"
#include "kernels/quantize/quantize.h"

namespace Atoll::gossip {

namespace {

// Fractions of the deadline of a call.
constexpr double kGathering = 0.4;
constexpr double kPatience = 0.25;  // with a member from which nothing comes
constexpr double kTick = 0.01;      // between two requests for what is missing
constexpr double kQueueFullSeconds = 0.001;
constexpr double kBandwidthMemory = 0.7;  // of the average over rounds

Hash digest_of(std::span<const AveragePart> parts) {
    HashStream hash;
    for (const AveragePart& part : parts) {
        const std::uint64_t words[] = {part.codec->wire_id(), part.values.size(),
                                       part.codec->encoded_bytes(part.values.size())};
        hash.update(std::as_bytes(std::span(words)));
    }
    return hash.finish();
}

}  // namespace

Result<AverageReport> AllReduce::average(std::uint64_t round, std::span<AveragePart> parts) {
    const double start = context_.host.now();
    begin(round, parts);
    if (!std::isfinite(norm_)) {
        return Error{ErrorCode::invalid,
                     fmt::format("round {}: our own values contain NaN or infinity, or are too "
                                 "large; nothing was sent",
                                 round)};
    }
    if (report_.members < 2) {
        report_.weight = 1;
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
    round_ = round;
    report_ = {.members = context_.inbox.view().size()};
    offsets_.clear();
    lost_.clear();
    ready_.clear();
    in_doubt_ = false;
    if (committed_ && committed_->round >= round) committed_.reset();
    std::size_t total = 0;
    double squares = 0;
    bool feedback = false;
    for (const AveragePart& part : parts) {
        offsets_.push_back(total);
        total += part.values.size();
        squares += kernels::sum_of_squares(part.values.data(), part.values.size());
        feedback = feedback || !part.residuals.empty();
    }
    norm_ = std::sqrt(squares);
    digest_ = digest_of(parts);
    if (result_.span().size() < total) result_ = kernels::FlatBuffer(total);
    if (feedback && residual_.span().size() < total) residual_ = kernels::FlatBuffer(total);
}

// ---- who takes part ----

PeerId AllReduce::coordinator() const {
    for (const PeerId& peer : context_.inbox.view().members) {
        if (!lost_.contains(peer)) return peer;
    }
    return context_.host.self();
}

void AllReduce::gather(std::uint32_t attempt) {
    phase_ = Phase::gathering;
    attempt_ = attempt;
    const double fraction = attempt == 0 ? kGathering : kPatience;
    gathering_until_ = context_.host.now() + fraction * context_.options.deadline_seconds;
    next_tick_ = context_.host.now();
    outgoing_.clear();
    next_payload_ = {};
}

void AllReduce::consider_plan(bool in_time) {
    std::vector<PeerId> members = {context_.host.self()};
    bool all = true;
    bool doubt = in_doubt_;
    for (const PeerId& peer : context_.inbox.view().members) {
        if (peer == context_.host.self() || lost_.contains(peer)) continue;
        const auto ready = ready_.find(peer);
        if (ready != ready_.end() && ready->second.parts == digest_ && ready->second.attempt <= attempt_) {
            members.push_back(peer);
            doubt = doubt || ready->second.in_doubt;
        } else if (ready == ready_.end() || ready->second.parts == digest_) {
            all = false;
        }
    }
    if (!all && in_time) return;
    // One who is not here may have committed what those in doubt have voted for.
    if (!all && doubt) return;
    for (const PeerId& peer : context_.inbox.view().members) {
        if (peer == context_.host.self() || std::ranges::find(members, peer) != members.end()) continue;
        const bool other = ready_.contains(peer) && ready_[peer].parts != digest_;
        if (lost_.insert(peer).second) {
            note(fmt::format("{} is left out: {}", peer.short_name(),
                             other ? "its parts differ from ours in number, size or codec"
                                   : fmt::format("not ready for round {}", round_)));
        }
    }
    propose(std::move(members));
}

void AllReduce::propose(std::vector<PeerId> members) {
    std::ranges::sort(members);
    if (members.size() < 2) {
        note("nobody else is left to average with");
        phase_ = Phase::finished;
        return;
    }
    std::vector<double> bandwidths;
    for (const PeerId& peer : members)
        bandwidths.push_back(peer == context_.host.self() ? bandwidth_ : ready_[peer].bandwidth);
    const std::vector<std::uint32_t> shares = reduce_shares(bandwidths, kReduceShareUnits);
    ReducePlan plan{round_, attempt_, {}};
    for (std::size_t i = 0; i < members.size(); ++i) plan.members.push_back({members[i], shares[i]});
    for (const PeerId& peer : members) {
        if (peer != context_.host.self()) say(peer, plan);
    }
    adopt(plan, context_.host.self());
}

void AllReduce::adopt(const ReducePlan& plan, const PeerId& coordinator) {
    const double now = context_.host.now();
    plan_ = plan;
    planner_ = coordinator;
    attempt_ = plan.attempt;
    in_doubt_ = false;
    phase_ = Phase::reducing;
    peers_.assign(plan.members.size(), {.heard = now, .contributed = now, .vote = {}});
    me_ = *index_of(context_.host.self());
    started_ = now;
    attempt_bytes_ = 0;
    next_tick_ = now + kTick * context_.options.deadline_seconds;
    for (const PeerId& peer : context_.inbox.view().members) {
        if (index_of(peer)) continue;
        note(fmt::format("{} is not in the group of {}", peer.short_name(), coordinator.short_name()));
        report_.complete = false;
    }
    make_pieces(plan);
    outgoing_.clear();
    next_payload_ = {};
    // To each owner in turn, from the one after us, so that not everybody sends to the same one at once.
    std::vector<std::vector<std::uint32_t>> owned(plan.members.size());
    for (std::uint32_t i = 0; i < pieces_.size(); ++i) owned[pieces_[i].owner].push_back(i);
    for (std::size_t k = 0, left = pieces_.size() - owned[me_].size(); left > 0; ++k) {
        for (std::size_t step = 1; step < owned.size(); ++step) {
            const std::size_t to = (me_ + step) % owned.size();
            if (k >= owned[to].size()) continue;
            outgoing_.push_back({to, owned[to][k], false});
            --left;
        }
    }
    for (const std::uint32_t i : owned[me_]) sum(i);
    if (incomplete_ == 0) decide();
}

void AllReduce::make_pieces(const ReducePlan& plan) {
    pieces_.clear();
    for (std::size_t p = 0; p < parts_.size(); ++p) {
        const std::size_t count = parts_[p].values.size();
        std::uint64_t units = 0;
        std::size_t begin = 0;
        for (std::size_t owner = 0; owner < plan.members.size(); ++owner) {
            units += plan.members[owner].share;
            // count * units / kReduceShareUnits, without overflow.
            const std::size_t end =
                count / kReduceShareUnits * units + count % kReduceShareUnits * units / kReduceShareUnits;
            for (; begin < end; begin += std::min(kReducePieceValues, end - begin)) {
                Piece piece{.part = p, .begin = begin, .offset = offsets_[p] + begin, .owner = owner};
                piece.count = std::min(kReducePieceValues, end - begin);
                if (owner == me_) piece.contributions.resize(plan.members.size());
                pieces_.push_back(std::move(piece));
            }
        }
    }
    incomplete_ = pieces_.size();
}

// ---- waiting ----

void AllReduce::tick() {
    const double now = context_.host.now();
    next_tick_ = now + kTick * context_.options.deadline_seconds;
    if (phase_ == Phase::gathering) {
        const bool in_time = now < gathering_until_;
        if (coordinates()) return consider_plan(in_time);
        // In doubt, silence may mean that it has committed and returned: we keep asking.
        if (!in_time && !in_doubt_) {
            const PeerId silent = coordinator();
            lost_.insert(silent);
            note(fmt::format("{} does not coordinate round {}", silent.short_name(), round_));
            gather(attempt_ + 1);
            if (coordinates()) return consider_plan(true);
        }
        return say(coordinator(), ReduceReady{round_, attempt_, in_doubt_, bandwidth_, digest_});
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
            if (m != me_ && m >= piece.summed && piece.contributions[m].empty() &&
                contributions[m].pieces.size() < kReduceRequestPiecesMax) {
                contributions[m].pieces.push_back(i);
            }
        }
    }
    const double quiet = context_.host.now() - kTick * context_.options.deadline_seconds;
    for (std::size_t m = 0; m < peers_.size(); ++m) {
        if (m == me_) continue;
        const PeerId& peer = plan_.members[m].id;
        const bool waiting = !contributions[m].pieces.empty() || !results[m].pieces.empty() ||
                             (planner_ == context_.host.self() ? !peers_[m].vote : peer == planner_);
        if (!waiting) continue;
        // Who has voted gives the coordinator up only when it leaves the view: it may have decided.
        const bool bound = phase_ == Phase::voted && peer == planner_;
        if (peers_[m].heard < late && !bound)
            return fail(peer, fmt::format("nothing came from it for {:.1f} s", patience));
        if (!contributions[m].pieces.empty() && peers_[m].contributed < late)
            return fail(peer, fmt::format("it contributed nothing for {:.1f} s", patience));
        // While pieces flow nothing is asked for: they may be on their way.
        if (peers_[m].heard > quiet) continue;
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

// ---- messages ----

void AllReduce::handle(const Message& message) {
    if (std::holds_alternative<ViewChanged>(message.body)) return on_view_changed();
    if (phase_ != Phase::gathering) {
        if (const auto from = index_of(message.sender)) peers_[*from].heard = context_.host.now();
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
    }
}

void AllReduce::on_ready(const PeerId& from, const ReduceReady& ready) {
    if (!context_.inbox.view().index_of(from)) return;
    if (ready.round == round_ + 1) {
        early_[from] = ready;
        return;
    }
    if (committed_ && ready.round == committed_->round) {
        return say(
            from,
            ReduceVote{
                committed_->round, committed_->attempt, ReduceVerdict::committed, committed_->hash, {}, ""});
    }
    if (ready.round != round_ || lost_.contains(from)) return;
    ready_[from] = ready;
    if (phase_ == Phase::gathering) {
        if (ready.attempt > attempt_ && coordinates()) attempt_ = ready.attempt;
        if (coordinates()) consider_plan(context_.host.now() < gathering_until_);
    } else if (planner_ == context_.host.self() && index_of(from) && ready.attempt <= attempt_) {
        say(from, plan_);  // ours was lost
    }
}

void AllReduce::on_plan(const PeerId& from, const ReducePlan& plan) {
    if (plan.round != round_ || !context_.inbox.view().index_of(from)) return;
    const auto in_plan = [&](const PeerId& peer) {
        return std::ranges::find(plan.members, peer, &ReduceMember::id) != plan.members.end();
    };
    if (!in_plan(context_.host.self()) || !in_plan(from)) return;
    if (phase_ == Phase::deciding || phase_ == Phase::finished) return;
    const bool newer = phase_ == Phase::gathering ? plan.attempt >= attempt_ : plan.attempt > attempt_;
    // Only the coordinator that we have made ourselves ready for, or whose attempt we are in.
    if (newer && from == (phase_ == Phase::gathering ? coordinator() : planner_)) adopt(plan, from);
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
    if (piece.owner != me_ || *sender == me_ || !piece.contributions[*sender].empty()) return;
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

void AllReduce::on_vote(const PeerId& from, const ReduceVote& vote) {
    const auto sender = index_of(from);
    if (vote.verdict == ReduceVerdict::committed) {
        if (phase_ == Phase::voted && current(vote.round, vote.attempt) && sender && vote.hash == hash_)
            commit();
        if (committed_ && committed_->round == vote.round)
            say(from, ReduceVote{vote.round, vote.attempt, ReduceVerdict::acknowledged, vote.hash, {}, ""});
        return;
    }
    if (committed_ && committed_->round == vote.round && vote.verdict == ReduceVerdict::done) {
        return say(
            from,
            ReduceVote{
                committed_->round, committed_->attempt, ReduceVerdict::committed, committed_->hash, {}, ""});
    }
    if (phase_ == Phase::gathering || !sender || vote.round != round_) return;
    if (vote.attempt < attempt_) {
        if (planner_ == context_.host.self()) say(from, plan_);
        return;
    }
    if (!current(vote.round, vote.attempt)) return;
    if (vote.verdict == ReduceVerdict::done && planner_ == context_.host.self()) {
        peers_[*sender].vote = vote.hash;
        decide();
    } else if (vote.verdict == ReduceVerdict::acknowledged) {
        peers_[*sender].acknowledged = true;
        decide();
    } else if (vote.verdict == ReduceVerdict::failed && index_of(vote.culprit) && phase_ != Phase::deciding &&
               (planner_ == context_.host.self() || from == planner_)) {
        if (vote.culprit == context_.host.self()) {
            note(fmt::format("{} left us out: {}", from.short_name(), vote.reason));
            phase_ = Phase::finished;
        } else {
            fail(vote.culprit, fmt::format("{} says: {}", from.short_name(), vote.reason));
        }
    }
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

// ---- what is decided ----

void AllReduce::decide() {
    if (phase_ == Phase::reducing && incomplete_ == 0) {
        HashStream stream;
        for (const Piece& piece : pieces_) stream.update(piece.hash);
        hash_ = stream.finish();
        phase_ = Phase::voted;
        const double seconds = context_.host.now() - started_;
        if (seconds > 0 && attempt_bytes_ > 0) {
            const double measured = double(attempt_bytes_) / seconds;
            bandwidth_ =
                bandwidth_ > 0 ? kBandwidthMemory * bandwidth_ + (1 - kBandwidthMemory) * measured : measured;
        }
        if (planner_ != context_.host.self()) return say(planner_, vote(ReduceVerdict::done));
        peers_[me_].vote = hash_;
    }
    if (planner_ != context_.host.self()) return;
    if (phase_ == Phase::voted) {
        if (!std::ranges::all_of(peers_, [](const Peer& peer) { return peer.vote.has_value(); })) return;
        for (std::size_t i = 0; i < peers_.size(); ++i) {
            if (*peers_[i].vote != hash_) {
                return fail(plan_.members[i].id, "the hash of its result differs from the coordinator's");
            }
        }
        commit();
        phase_ = Phase::deciding;
        started_ = context_.host.now();
        peers_[me_].acknowledged = true;
        for (std::size_t i = 0; i < peers_.size(); ++i) {
            if (i != me_) say(plan_.members[i].id, vote(ReduceVerdict::committed));
        }
    }
    if (phase_ == Phase::deciding && std::ranges::all_of(peers_, &Peer::acknowledged))
        phase_ = Phase::finished;
}

void AllReduce::commit() {
    for (std::size_t p = 0; p < parts_.size(); ++p) {
        const AveragePart& part = parts_[p];
        const auto bytes = part.values.size_bytes();
        if (bytes == 0) continue;
        std::memcpy(part.values.data(), result_.span().data() + offsets_[p], bytes);
        if (!part.residuals.empty() && !part.residuals[0].empty())
            std::memcpy(part.residuals[0].data(), residual_.span().data() + offsets_[p], bytes);
    }
    committed_ = Decision{round_, attempt_, hash_};
    report_.weight = double(plan_.members.size()) / double(report_.members);
    phase_ = Phase::finished;
}

void AllReduce::fail(const PeerId& culprit, std::string reason) {
    reason.resize(std::min(reason.size(), kReasonBytesMax));
    note(fmt::format("{} is left out of round {}: {}", culprit.short_name(), round_, reason));
    report_.complete = false;
    const bool voted = phase_ == Phase::voted;
    ReduceVote failed = vote(ReduceVerdict::failed);
    failed.culprit = culprit;
    failed.reason = std::move(reason);
    if (planner_ == context_.host.self()) {
        lost_.insert(culprit);
        say(culprit, failed);
        std::vector<PeerId> members;
        for (const ReduceMember& member : plan_.members) {
            if (!lost_.contains(member.id)) members.push_back(member.id);
        }
        ++attempt_;
        return propose(std::move(members));
    }
    if (culprit != planner_) return say(planner_, std::move(failed));
    lost_.insert(culprit);
    gather(attempt_ + 1);
    in_doubt_ = voted;
}

// ---- small helpers ----

bool AllReduce::current(std::uint64_t round, std::uint32_t attempt) const {
    return phase_ != Phase::gathering && round == round_ && attempt == attempt_;
}

std::optional<std::size_t> AllReduce::index_of(const PeerId& peer) const {
    const auto it = std::ranges::lower_bound(plan_.members, peer, {}, &ReduceMember::id);
    if (it == plan_.members.end() || it->id != peer) return std::nullopt;
    return static_cast<std::size_t>(it - plan_.members.begin());
}

ReduceVote AllReduce::vote(ReduceVerdict verdict) const { return {round_, attempt_, verdict, hash_, {}, ""}; }

void AllReduce::note(std::string reason) {
    if (std::ranges::find(report_.reasons, reason) == report_.reasons.end())
        report_.reasons.push_back(std::move(reason));
    report_.complete = false;
}

std::unique_ptr<Averaging> make_all_reduce(const AveragingContext& context) {
    return std::make_unique<AllReduce>(context);
}

}  // namespace Atoll::gossip

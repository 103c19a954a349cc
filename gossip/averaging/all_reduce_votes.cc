// How an AllReduce ends: votes, the decision, what becomes of a failed attempt.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "gossip/averaging/all_reduce.h"
#include "gossip/limits.h"

namespace Atoll::gossip {

namespace {
constexpr double kBandwidthMemory = 0.7;  // of the average over rounds
}

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
    report_.agreed = true;
    if (step_ != nullptr) {
        report_.stepped = round_;
        group_.clear();
        for (const ReduceMember& member : plan_.members) group_.insert(member.id);
    }
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
        std::vector<ReduceMember> members;
        for (const ReduceMember& member : plan_.members) {
            if (lost_.contains(member.id)) continue;
            members.push_back(member);
            // By bandwidth alone: what was not worth it may be worth it now.
            if (step_ == nullptr) members.back().share = 1;
        }
        ++attempt_;
        return propose(std::move(members));
    }
    if (culprit != planner_) return say(planner_, std::move(failed));
    lost_.insert(culprit);
    gather(attempt_ + 1);
    in_doubt_ = voted && step_ == nullptr;
}

ReduceVote AllReduce::vote(ReduceVerdict verdict) const { return {round_, attempt_, verdict, hash_, {}, ""}; }

}  // namespace Atoll::gossip

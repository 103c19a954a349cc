// Who takes part in an AllReduce: gathering, and the plan.
#include <fmt/core.h>

#include <algorithm>

#include "gossip/averaging/all_reduce.h"
#include "gossip/averaging/shares.h"
#include "gossip/limits.h"

namespace Atoll::gossip {

PeerId AllReduce::coordinator() const {
    const auto& members = context_.inbox.view().members;
    const auto leads = [&](const PeerId& peer) { return !lost_.contains(peer) && awaited(peer); };
    const auto first = std::ranges::find_if(members, leads);
    return first == members.end() ? context_.host.self() : *first;
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
    if (step_ != nullptr) return consider_step(in_time);
    std::vector<ReduceMember> members = {{context_.host.self()}};
    bool all = true;
    bool doubt = in_doubt_;
    for (const PeerId& peer : context_.inbox.view().members) {
        if (peer == context_.host.self() || lost_.contains(peer)) continue;
        const auto ready = ready_.find(peer);
        if (ready != ready_.end() && ready->second.parts == digest_ && ready->second.attempt <= attempt_) {
            members.push_back({peer});
            doubt = doubt || ready->second.in_doubt;
        } else if (ready == ready_.end() || ready->second.parts == digest_) {
            all = false;
        }
    }
    if (!all && in_time) return;
    // One who is not here may have committed what those in doubt have voted for.
    if (!all && doubt) return;
    for (const PeerId& peer : context_.inbox.view().members) {
        if (std::ranges::find(members, peer, &ReduceMember::id) != members.end()) continue;
        const bool other = ready_.contains(peer) && ready_[peer].parts != digest_;
        if (lost_.insert(peer).second) {
            note(fmt::format("{} is left out: {}", peer.short_name(),
                             other ? "its parts differ from ours in number, size or codec"
                                   : fmt::format("not ready for round {}", round_)));
        }
    }
    propose(std::move(members));
}

// Shares and weights of zero stay; the others' shares are made here.
void AllReduce::propose(std::vector<ReduceMember> members) {
    std::ranges::sort(members, {}, &ReduceMember::id);
    std::vector<ReduceMember*> owners;
    std::vector<double> bandwidths;
    bool contributes = false;
    for (ReduceMember& member : members) {
        contributes = contributes || member.weight > 0;
        if (member.share == 0) continue;
        owners.push_back(&member);
        const bool self = member.id == context_.host.self();
        // Those who take a step keep their shares, whatever their bandwidth.
        bandwidths.push_back(step_ != nullptr ? 0 : self ? bandwidth_ : ready_[member.id].bandwidth);
    }
    if (members.size() < 2 || owners.empty() || !contributes) {
        note(members.size() < 2 ? "nobody else is left to average with"
                                : "nobody who is here can own or contribute anything");
        phase_ = Phase::finished;
        return;
    }
    const std::vector<std::uint32_t> shares = reduce_shares(bandwidths, kReduceShareUnits);
    for (std::size_t i = 0; i < owners.size(); ++i) owners[i]->share = shares[i];
    const ReducePlan plan{round_, attempt_, std::move(members)};
    for (const ReduceMember& member : plan.members) {
        if (member.id != context_.host.self()) say(member.id, plan);
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
        if (index_of(peer) || !awaited(peer)) continue;
        note(fmt::format("{} is not in the group of {}", peer.short_name(), coordinator.short_name()));
        report_.complete = false;
    }
    total_weight_ = 0;
    for (const ReduceMember& member : plan.members) total_weight_ += member.weight;
    make_pieces(plan);
    outgoing_.clear();
    next_payload_ = {};
    // To each owner in turn, from the one after us, so that not everybody sends to the same one at once.
    std::vector<std::vector<std::uint32_t>> owned(plan.members.size());
    for (std::uint32_t i = 0; i < pieces_.size(); ++i) owned[pieces_[i].owner].push_back(i);
    const bool contributes = plan.members[me_].weight > 0;
    for (std::size_t k = 0, left = contributes ? pieces_.size() - owned[me_].size() : 0; left > 0; ++k) {
        for (std::size_t step = 1; step < owned.size(); ++step) {
            const std::size_t to = (me_ + step) % owned.size();
            if (k >= owned[to].size()) continue;
            outgoing_.push_back({to, owned[to][k], false});
            --left;
        }
    }
    if (step_ != nullptr) begin_step();
    for (const std::uint32_t i : owned[me_]) sum(i);
    if (incomplete_ == 0) decide();
}

void AllReduce::make_pieces(const ReducePlan& plan) {
    pieces_.clear();
    if (step_ != nullptr) make_shards(plan);
    for (std::size_t p = 0; step_ == nullptr && p < parts_.size(); ++p) {
        const std::size_t count = parts_[p].values.size();
        std::uint64_t units = 0;
        std::size_t begin = 0;
        for (std::size_t owner = 0; owner < plan.members.size(); ++owner) {
            units += plan.members[owner].share;
            // count * units / kReduceShareUnits, without overflow.
            const std::size_t end =
                count / kReduceShareUnits * units + count % kReduceShareUnits * units / kReduceShareUnits;
            add_pieces(p, begin, end, owner);
            begin = end;
        }
    }
    incomplete_ = pieces_.size();
}

void AllReduce::add_pieces(std::size_t part, std::size_t begin, std::size_t end, std::size_t owner) {
    for (; begin < end; begin += std::min(kReducePieceValues, end - begin)) {
        Piece piece{.part = part, .begin = begin, .offset = offsets_[part] + begin, .owner = owner};
        piece.count = std::min(kReducePieceValues, end - begin);
        if (owner == me_) piece.contributions.resize(plan_.members.size());
        pieces_.push_back(std::move(piece));
    }
}

void AllReduce::on_ready(const PeerId& from, const ReduceReady& ready) {
    if (!context_.inbox.view().index_of(from)) return;
    if (step_ != nullptr && ready.round != round_) return on_other_round(from, ready);
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
        if (step_ != nullptr && phase_ == Phase::gathering && coordinates()) say(from, sign_of_life(ready));
    } else if (planner_ == context_.host.self() && index_of(from) && ready.attempt <= attempt_) {
        say(from, plan_);  // ours was lost
    }
}

void AllReduce::on_plan(const PeerId& from, const ReducePlan& plan) {
    if (!context_.inbox.view().index_of(from)) return;
    if (plan.round != round_) return step_ != nullptr ? follow(from, plan) : void();
    const auto in_plan = [&](const PeerId& peer) {
        return std::ranges::find(plan.members, peer, &ReduceMember::id) != plan.members.end();
    };
    if (!in_plan(context_.host.self()) || !in_plan(from)) return;
    if (step_ != nullptr && asks_too_much(plan)) return;
    if (phase_ == Phase::deciding || phase_ == Phase::finished) return;
    const bool newer = phase_ == Phase::gathering ? plan.attempt >= attempt_ : plan.attempt > attempt_;
    // Only the coordinator that we have made ourselves ready for, or whose attempt we are in.
    const bool announced = step_ != nullptr && group_.empty() && phase_ == Phase::gathering;
    if (newer && (announced || from == (phase_ == Phase::gathering ? coordinator() : planner_)))
        adopt(plan, from);
}

}  // namespace Atoll::gossip

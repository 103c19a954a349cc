// AllReduce with a step of the owners: who takes part, who owns what, and when the step is taken.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "gossip/averaging/all_reduce.h"
#include "gossip/averaging/shares.h"
#include "gossip/limits.h"

namespace Atoll::gossip {

// ---- who takes part ----

// Members of the last group are waited for; in the first exchange, and after one in vain, all in the view.
bool AllReduce::awaited(const PeerId& peer) const {
    return step_ == nullptr || group_.empty() || group_.contains(peer);
}

// While we were not in a group: it is of rounds that are over, and what is not comes again.
void AllReduce::forget_what_came() {
    while (context_.inbox.next(context_.host.now())) continue;
    early_.clear();
}

// Until we are in a group, its coordinator may be anybody.
void AllReduce::announce() {
    if (!group_.empty()) return;
    for (const PeerId& peer : context_.inbox.view().members) {
        if (peer != context_.host.self() && peer != coordinator()) say(peer, own_ready());
    }
}

ReduceReady AllReduce::own_ready() const {
    ReduceReady ready{round_, attempt_, in_doubt_, bandwidth_, digest_};
    if (step_ != nullptr) {
        const bool following = round_ != asked_;
        ready.weight = following ? 0 : step_->weight();
        ready.may_own = !following && step_->may_own();
    }
    return ready;
}

void AllReduce::consider_step(bool in_time) {
    const PeerId self = context_.host.self();
    const View& view = context_.inbox.view();
    std::map<PeerId, ReduceReady> here = {{self, own_ready()}};
    bool all = true;
    for (const PeerId& peer : view.members) {
        if (peer == self || lost_.contains(peer)) continue;
        const auto ready = ready_.find(peer);
        if (ready != ready_.end() && ready->second.parts == digest_) {
            here.insert(*ready);
        } else if (awaited(peer)) {
            all = false;
        }
    }
    std::uint64_t newest = round_;
    for (const auto& [peer, ready] : here) newest = std::max(newest, ready.round);
    std::vector<ReduceMember> members;
    for (const auto& [peer, ready] : here) {
        const bool current = ready.round == newest;
        // One of the group may only be on its way from the round before.
        all = all && (current || peer == self || !group_.contains(peer));
        members.push_back({peer, current && ready.may_own ? 1U : 0U, current ? ready.weight : 0U});
    }
    if (!all && in_time) return;
    for (const PeerId& peer : view.members) {
        if (here.contains(peer) || !awaited(peer) || !lost_.insert(peer).second) continue;
        note(fmt::format("{} is left out: {}", peer.short_name(),
                         ready_.contains(peer) ? "its parts differ from ours in size or codec"
                                               : fmt::format("not ready for round {}", round_)));
    }
    round_ = newest;
    propose(std::move(members));
}

// From one who is ahead or behind: of use to whoever coordinates the next attempt or round.
void AllReduce::on_other_round(const PeerId& from, const ReduceReady& ready) {
    if (ready.round >= step_->rounds()) return;
    if (phase_ == Phase::gathering) {
        if (lost_.contains(from)) return;
        ready_[from] = ready;
        if (coordinates()) consider_step(context_.host.now() < gathering_until_);
        return;
    }
    const auto index = index_of(from);
    if (index && plan_.members[*index].weight == 0 && ready.round < round_) {
        if (planner_ == context_.host.self()) say(from, plan_);  // it was taken in, but ours was lost
    } else if (!index || ready.round > round_) {
        early_[from] = ready;
        if (planner_ == context_.host.self()) say(from, sign_of_life(ready));
    }
}

// A plan of a round in which we are to receive only.
void AllReduce::follow(const PeerId& from, const ReducePlan& plan) {
    const auto me = std::ranges::find(plan.members, context_.host.self(), &ReduceMember::id);
    const bool receives = me != plan.members.end() && me->share == 0 && me->weight == 0;
    const bool in_it = std::ranges::find(plan.members, from, &ReduceMember::id) != plan.members.end();
    const bool undecided = phase_ != Phase::deciding && phase_ != Phase::finished;
    if (!undecided || !receives || !in_it) return;
    if (plan.round < round_ || plan.round >= step_->rounds()) return;
    round_ = plan.round;
    adopt(plan, from);
}

// A share of one who has nothing to step from, or a contribution of one who has none: the answer to what we
// said in a call before.
bool AllReduce::asks_too_much(const ReducePlan& plan) const {
    const auto me = std::ranges::find(plan.members, context_.host.self(), &ReduceMember::id);
    const ReduceReady own = own_ready();
    return (me->share > 0 && !own.may_own) || (me->weight > 0 && own.weight == 0);
}

// ---- who owns what ----

void AllReduce::make_shards(const ReducePlan& plan) {
    std::vector<PeerId> owners;
    std::vector<std::size_t> index;
    for (std::size_t i = 0; i < plan.members.size(); ++i) {
        if (plan.members[i].share == 0) continue;
        owners.push_back(plan.members[i].id);
        index.push_back(i);
    }
    const std::vector<std::size_t> dealt = deal_shards(owners, kOwnerShards);
    // At multiples of a cache line, so that an owner's arithmetic is as fast as anybody's.
    constexpr std::size_t kAlignment = 16;
    const std::size_t count = parts_[0].values.size();
    const std::size_t blocks = (count + kAlignment - 1) / kAlignment;
    std::size_t begin = 0;
    for (std::size_t shard = 0; shard < dealt.size();) {
        const std::size_t owner = dealt[shard];
        while (shard < dealt.size() && dealt[shard] == owner) ++shard;
        const std::size_t end = std::min(count, blocks * shard / kOwnerShards * kAlignment);
        add_pieces(0, begin, end, index[owner]);
        begin = end;
    }
}

void AllReduce::begin_step() {
    std::vector<OwnerStep::Run> runs;
    unsummed_ = 0;
    for (const Piece& piece : pieces_) {
        if (piece.owner != me_) continue;
        ++unsummed_;
        if (!runs.empty() && runs.back().end == piece.begin) {
            runs.back().end += piece.count;
        } else {
            runs.push_back({piece.begin, piece.begin + piece.count});
        }
    }
    totals_.assign(plan_.members.size(), {});
    stepping_ = plan_.members[me_].share > 0;
    OwnerStep::Group group{.weight = total_weight_};
    for (const ReduceMember& member : plan_.members) {
        group.contributors += member.weight > 0 ? 1 : 0;
        group.followers = group.followers || member.share == 0;
    }
    step_->begin(runs, group);
    if (stepping_ && unsummed_ == 0) all_summed();  // a share of a very short vector
}

// ---- the step ----

void AllReduce::all_summed() {
    if (step_->needs_total()) {
        const double own = step_->measure(result_.span().first(parts_[0].values.size()));
        totals_[me_] = own;
        for (const ReduceMember& member : plan_.members) {
            if (member.id != context_.host.self()) say(member.id, ReduceTotal{round_, attempt_, own});
        }
    }
    finish_step();
}

void AllReduce::on_total(const PeerId& from, const ReduceTotal& total) {
    const auto sender = index_of(from);
    if (!current(total.round, total.attempt) || !sender || step_ == nullptr) return;
    totals_[*sender] = total.value;
    finish_step();
}

void AllReduce::finish_step() {
    if (!stepping_ || unsummed_ > 0) return;
    double total = 0;
    for (std::size_t m = 0; step_->needs_total() && m < plan_.members.size(); ++m) {
        if (plan_.members[m].share == 0) continue;
        if (!totals_[m]) return;
        total += *totals_[m];
    }
    stepping_ = false;
    step_->finish(result_.span().first(parts_[0].values.size()), total);
    for (std::uint32_t i = 0; i < pieces_.size(); ++i) {
        if (pieces_[i].owner == me_) publish(i);
    }
}

// Nobody else is in the view.
void AllReduce::step_alone() {
    if (!step_->may_own() || step_->weight() == 0) return;
    const std::span<float> values = parts_[0].values;
    if (const auto& residuals = parts_[0].residuals; !residuals.empty() && !residuals[0].empty()) {
        for (std::size_t i = 0; i < values.size(); ++i) values[i] += std::exchange(residuals[0][i], 0.0F);
    }
    gossip::step_alone(*step_, values);
    report_.stepped = round_;
}

}  // namespace Atoll::gossip

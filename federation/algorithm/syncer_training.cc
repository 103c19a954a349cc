#include "federation/algorithm/syncer_training.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "federation/algorithm/steps.h"
#include "federation/shared_state.h"
#include "gossip/codec/seed.h"

namespace Atoll::federation {

namespace {

constexpr double kResendFraction = 0.1;  // of averaging.deadline_seconds

}  // namespace

SyncerTraining::SyncerTraining(const RunConfig& config, std::size_t parameters)
    : run_(config.run),
      options_(config.algorithm),
      deadline_seconds_(config.averaging.deadline_seconds),
      resend_seconds_(kResendFraction * config.averaging.deadline_seconds),
      norm_ratio_max_(config.averaging.norm_ratio_max),
      anchor_(parameters),
      base_(parameters),
      delta_(parameters),
      received_(parameters),
      versions_(fragment_count(config)),
      since_(versions_.size() + 1),
      residuals_(config.codec, parameters),
      norms_(versions_.size()) {
    auto exact = gossip::make_codec("none", {});
    ATOLL_CHECK(exact.ok());
    exact_ = std::move(*exact);
}

// ---- the learner ----

Status SyncerTraining::run(Context& context) {
    deliveries_.emplace(static_cast<std::uint64_t>(context.host.unix_time() * 1e6));
    ATOLL_TRY(begin(context));
    publish_state(context.host, *this);
    while (round_ < rounds()) {
        RoundReport report;
        announce(context);
        if (const Status learned = learn(context, report); !learned.ok()) {
            take_back(context);
            return learned;
        }
        ++round_;
        // A member that took fewer steps than H stands where the others do.
        const std::uint64_t end = round_ * static_cast<std::uint64_t>(options_.inner_steps);
        if (context.worker.step() != end) context.worker.set_step(end);
        round_done(report);
        if (round_ == rounds()) {
            const double start = context.host.now();
            finish(context);
            report.exchange_seconds = context.host.now() - start;
        }
        publish_state(context.host, *this);
        fill_in(context, report);
        ATOLL_TRY(context.observer.on_round(report, *this));
    }
    return {};
}

Status SyncerTraining::begin(Context& context) {
    Worker& worker = context.worker;
    fragments_ = make_fragments(worker.layout(), versions_.size(), options_.fragment_pattern == "strided");
    if (round_ == 0 && worker.step() == 0) {
        std::ranges::copy(worker.parameters(), anchor_.span().begin());
        std::ranges::copy(worker.parameters(), base_.span().begin());
        return wait_for_members(context, static_cast<std::size_t>(run_.members_min));
    }
    return check_position(worker, round_, static_cast<std::uint64_t>(options_.inner_steps));
}

Status SyncerTraining::learn(Context& context, RoundReport& report) {
    const std::uint64_t begin = round_ * static_cast<std::uint64_t>(options_.inner_steps);
    const std::uint64_t done = context.worker.step() - begin;  // before a restart
    const auto step = [&](Worker& worker) -> Result<StepResult> {
        serve(context);
        ATOLL_ASSIGN(const StepResult result, worker.inner_step());
        for (std::size_t f = 0; f < fragments(); ++f) since_[f] += 1;
        since_.back() = static_cast<float>(result.tokens);
        return result;
    };
    for (std::size_t f = 0; f < fragments(); ++f) {
        if (due(f) <= done) continue;
        ATOLL_TRY(take_inner_steps(context, round_, begin + due(f), report, step));
        ATOLL_TRY(push(context, f));
    }
    return {};
}

// Delta_p = base_p - theta_p;  base_p <- theta_p;  off it goes.
Status SyncerTraining::push(Context& context, std::size_t fragment) {
    const std::span<const float> theta = context.worker.parameters();
    for (const FragmentRange& range : fragments_[fragment]) {
        for (std::size_t i = range.offset; i < range.offset + range.size; ++i) {
            delta_.data()[i] = base_.data()[i] - theta[i];
            base_.data()[i] = theta[i];
        }
        ATOLL_TRY(check_finite(delta_.span().subspan(range.offset, range.size), context.worker.step()));
    }
    norms_[fragment] = norm_of(delta_, fragment);
    gossip::MixShare share{.round = round_, .stage = static_cast<std::uint32_t>(2 * fragment)};
    share.weight = weight(static_cast<double>(since_[fragment]), static_cast<double>(since_.back()));
    heaviest_ = std::max(heaviest_, share.weight);
    since_[fragment] = 0;
    SharedBytes payload = encode(context, fragment, share);
    begun_ = true;
    const gossip::PeerId to = syncer(context, fragment);
    if (to == context.host.self()) {
        contributed(context, {fragment, to, share.weight, delta_.span()});
    } else {
        notes_.bytes_sent += payload.size();
        deliveries_->send(context.host, to, std::move(share), std::move(payload), resend_seconds_);
    }
    return {};
}

// Leaves in delta_ what the receiver will see.
SharedBytes SyncerTraining::encode(Context& context, std::size_t fragment, gossip::MixShare& share) {
    const auto residuals = residuals_.next(context.codec, 1, fragments_[fragment]);
    std::size_t bytes = 0;
    for (const FragmentRange& range : fragments_[fragment]) bytes += context.codec.encoded_bytes(range.size);
    const std::shared_ptr<std::byte[]> buffer = std::make_shared_for_overwrite<std::byte[]>(bytes);
    std::size_t at = 0;
    for (std::size_t i = 0; i < fragments_[fragment].size(); ++i) {
        const FragmentRange& range = fragments_[fragment][i];
        const std::span<float> values = delta_.span().subspan(range.offset, range.size);
        const auto residual =
            residuals.empty() ? std::span<float>() : residuals.front().subspan(range.offset, range.size);
        const auto seed = gossip::codec_seed(context.seed, context.host.self(), share.round, share.stage, i);
        const std::size_t written =
            context.codec.encode(values, residual, {buffer.get() + at, bytes - at}, values, seed);
        share.parts.push_back({context.codec.wire_id(), range.size, written});
        at += written;
    }
    return {buffer, ByteView(buffer.get(), at)};
}

// Theta_p is new:  theta_p <- Theta_p - (base_p - theta_p);  base_p <- Theta_p.
void SyncerTraining::go_on_from_anchor(Worker& worker, std::size_t fragment) {
    const std::span<float> theta = worker.parameters();
    for (const FragmentRange& range : fragments_[fragment]) {
        for (std::size_t i = range.offset; i < range.offset + range.size; ++i) {
            theta[i] = anchor_.data()[i] - (base_.data()[i] - theta[i]);
            base_.data()[i] = anchor_.data()[i];
        }
    }
    worker.parameters_changed();
}

void SyncerTraining::restart_from_anchor(Worker& worker) {
    std::ranges::copy(anchor_.span(), base_.span().begin());
    std::ranges::copy(anchor_.span(), worker.parameters().begin());
    worker.parameters_changed();
}

// The node stops: what is collected here goes into Theta, and what nobody has acknowledged goes home, into
// the next Delta after the restart. A receipt that is on its way is waited for: its update would count twice.
void SyncerTraining::take_back(Context& context) {
    const double deadline = context.host.now() + resend_seconds_;
    while (!deliveries_->pending().empty()) {
        const auto message = context.inbox.next(deadline);
        if (!message) break;
        handle(context, *message);
    }
    tick(context, true);
    for (const Deliveries::Pending& entry : deliveries_->pending()) {
        if (!decode(entry.share, entry.payload, context.codec, INFINITY).ok()) continue;
        for (const FragmentRange& range : fragments_[fragment_of(entry.share)]) {
            for (std::size_t i = range.offset; i < range.offset + range.size; ++i)
                base_.data()[i] += received_.data()[i];
        }
    }
    deliveries_->pending().clear();
}

// ---- the end of a run ----

// Those who are done stay until everybody is: they may be syncers, and what comes late makes Theta better.
void SyncerTraining::finish(Context& context) {
    gossip::Host& host = context.host;
    heard_ = host.now();
    double next_question = host.now();
    while (!context.stop.requested() && !host.stopping()) {
        follow_view(context);
        // Finished is whose every update has been taken: a fragment is over when that is true of all.
        const bool finished = deliveries_->pending().empty();
        if (finished) finished_.insert(host.self());
        tick(context, all_finished(context));
        if (over(context)) break;
        if (host.now() >= heard_ + deadline_seconds_) {
            note(fmt::format("nothing new came for {:.1f} s after the last step", deadline_seconds_));
            break;
        }
        deliveries_->resend(host, resend_seconds_);
        if (finished && host.now() >= next_question) {
            next_question = host.now() + resend_seconds_;
            for (std::size_t f = 0; f < fragments(); ++f) {
                if (!leads(context, f) && !final_.contains(f))
                    tell_version(context, f, syncer(context, f), kQuestion);
            }
        }
        const double question = finished ? next_question : INFINITY;
        const double wait = std::min({question, deliveries_->next_resend(), heard_ + deadline_seconds_});
        if (const auto message = context.inbox.next(wait)) handle(context, *message);
    }
    restart_from_anchor(context.worker);
}

bool SyncerTraining::over(const Context& context) const {
    if (!deliveries_->pending().empty()) return false;
    for (std::size_t f = 0; f < fragments(); ++f) {
        if (!leads(context, f)) {
            if (!final_.contains(f)) return false;
            continue;
        }
        if (!closed(context, f)) return false;
        // So that nobody who has not got the last version is left without an answer.
        const auto current = current_.find(f);
        for (const gossip::PeerId& member : present(context)) {
            if (member == context.host.self()) continue;
            if (current == current_.end() || !current->second.contains(member)) return false;
        }
    }
    return true;
}

bool SyncerTraining::all_finished(const Context& context) const {
    return std::ranges::all_of(present(context),
                               [&](const gossip::PeerId& member) { return finished_.contains(member); });
}

bool SyncerTraining::closed(const Context& context, std::size_t fragment) const {
    return all_finished(context) && !collecting(fragment);
}

void SyncerTraining::fill_in(const Context& context, RoundReport& report) {
    for (const Deliveries::Pending& entry : deliveries_->pending()) {
        const bool late = context.host.now() > entry.sent + deadline_seconds_;
        if (!late && round_ < rounds()) continue;
        note(fmt::format("{} has not answered what it was sent in round {}", entry.to.short_name(),
                         entry.share.round));
    }
    double squares = 0;
    for (const double norm : norms_) squares += norm * norm;
    report.round = round_;
    report.step = context.worker.step();
    report.update_norm = std::sqrt(squares);
    report.average = std::exchange(notes_, {});
    report.average.members = view(context).size();
    report.average.weight = 1;
}

// ---- small helpers ----

void SyncerTraining::advance(Context& context, std::size_t fragment) {
    versions_[fragment] += 1;
    current_.erase(fragment);
    go_on_from_anchor(context.worker, fragment);
}

std::vector<gossip::PeerId> SyncerTraining::present(const Context& context) const {
    std::vector<gossip::PeerId> members = view(context).members;
    std::erase_if(members, [&](const gossip::PeerId& member) { return away_.contains(member); });
    return members;
}

gossip::PeerId SyncerTraining::syncer(const Context& context, std::size_t fragment) const {
    const auto& members = view(context).members;
    for (std::size_t i = 0; i < members.size(); ++i) {
        const gossip::PeerId& member = members[(fragment + i) % members.size()];
        if (!away_.contains(member)) return member;
    }
    return context.host.self();
}

bool SyncerTraining::leads(const Context& context, std::size_t fragment) const {
    return syncer(context, fragment) == context.host.self();
}

double SyncerTraining::norm_of(kernels::FlatBuffer& vector, std::size_t fragment) const {
    double squares = 0;
    for (const FragmentRange& range : fragments_[fragment])
        squares += std::pow(norm(vector.span().subspan(range.offset, range.size)), 2);
    return std::sqrt(squares);
}

void SyncerTraining::note(std::string reason) {
    notes_.complete = false;
    if (std::ranges::find(notes_.reasons, reason) == notes_.reasons.end())
        notes_.reasons.push_back(std::move(reason));
}

void SyncerTraining::adopted(Worker& worker) {
    worker.set_step(round_ * static_cast<std::uint64_t>(options_.inner_steps));
    fragments_ = make_fragments(worker.layout(), versions_.size(), options_.fragment_pattern == "strided");
    residuals_.forget();
    std::ranges::fill(since_, 0.0F);
    for (std::size_t f = 0; f < fragments(); ++f) forget(f);
    if (deliveries_) deliveries_->pending().clear();
    restart_from_anchor(worker);
}

std::vector<StateVector> SyncerTraining::state() {
    std::vector<StateVector> vectors = {{"anchor", anchor_.span(), true},
                                        {"versions", versions_, true},
                                        {"base", base_.span(), false},
                                        {"since", since_, false}};
    residuals_.append_to(vectors);
    return vectors;
}

bool SyncerTraining::reserve(std::string_view name) {
    if (residuals_.reserve(name)) return true;
    const auto vectors = state();
    return std::ranges::any_of(vectors, [&](const StateVector& vector) { return vector.name == name; });
}

Status check_syncer_training(const RunConfig& config) {
    ATOLL_TRY(check_fragments(config));
    const auto fragments = static_cast<std::int64_t>(fragment_count(config));
    if (fragments > config.algorithm.inner_steps) {
        return Error{ErrorCode::invalid,
                     fmt::format("algorithm.fragments = {} ({} fragments) but algorithm.inner_steps = {}: "
                                 "expected no more fragments than steps",
                                 config.algorithm.fragments, fragments, config.algorithm.inner_steps)};
    }
    const RunConfig defaults;
    if (config.averaging.name != defaults.averaging.name || config.topology.name != defaults.topology.name) {
        return Error{ErrorCode::invalid,
                     fmt::format("averaging.name = {} and topology.name = {} but algorithm.name = {} asks "
                                 "neither, its members send to the syncer of each fragment: leave both out",
                                 config.averaging.name, config.topology.name, config.algorithm.name)};
    }
    if (config.averaging.tolerance != defaults.averaging.tolerance) {
        return Error{ErrorCode::invalid,
                     fmt::format("averaging.tolerance = {} but algorithm.name = {} does not read it, its "
                                 "members do not mix: leave it out",
                                 config.averaging.tolerance, config.algorithm.name)};
    }
    return {};
}

}  // namespace Atoll::federation

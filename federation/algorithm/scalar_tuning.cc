#include "federation/algorithm/scalar_tuning.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "federation/algorithm/steps.h"
#include "federation/catch_up.h"
#include "federation/names.h"
#include "federation/replica_worker.h"
#include "federation/shared_state.h"
#include "federation/state_fetch.h"

namespace Atoll::federation {

namespace {

// What goes before the scalars: the norm that none of ours can exceed, so that averaging.norm_ratio_max,
// which compares with the norm of our own, refuses a lie but never a member whose slopes happen to be large
// where ours are small; and a fingerprint of the numbers so far.
constexpr std::size_t kBound = 0, kFingerprint = 1, kScalars = 2;

}  // namespace

ScalarTuning::ScalarTuning(const RunConfig& config, std::size_t parameters, Replay replay,
                           std::size_t scalars, std::size_t numbers)
    : run_(config.run),
      replay_(replay),
      inner_steps_(static_cast<std::uint64_t>(config.algorithm.inner_steps)),
      perturbation_(config.optimizer.perturbation),
      clip_norm_(config.optimizer.clip_norm),
      peak_rate_(config.optimizer.learning_rate),
      schedule_options_(trainer_options(config).schedule_options),
      start_(parameters),
      scalars_(scalars),
      numbers_(numbers),
      exchanged_(kScalars + scalars),
      model_(replay == Replay::onward ? parameters : 0) {
    const auto schedule = model::find_schedule(config.schedule.name);
    ATOLL_CHECK(schedule.ok());  // validate() has seen the name
    schedule_ = *schedule;
}

Status ScalarTuning::run(Context& context) {
    Worker& worker = context.worker;
    std::memcpy(&own_seed_, context.host.self().key.data(), sizeof own_seed_);
    own_seed_ ^= seed();
    ATOLL_TRY(begin(context));
    publish_state(context.host, *this);
    while (round_ < rounds()) {
        RoundReport report;
        ATOLL_TRY(take_inner_steps(context, round_, (round_ + 1) * inner_steps_, report,
                                   [this](Worker& local) { return local_step(local); }));
        ATOLL_ASSIGN(const bool agreed, exchange(context, report));
        if (!agreed) continue;  // a peer's numbers are ours now: on from its round

        const std::span<const float> mean = std::span(exchanged_).subspan(kScalars);
        record(mean);
        report.update_norm = norm(mean);
        ++round_;
        std::ranges::fill(scalars_.span(), 0.0F);
        rebuild(worker);
        ATOLL_TRY(check_finite(worker.parameters(), worker.step()));

        publish_state(context.host, *this);
        report.round = round_;
        report.step = worker.step();
        ATOLL_TRY(context.observer.on_round(report, *this));
    }
    return {};
}

Status ScalarTuning::begin(Context& context) {
    Worker& worker = context.worker;
    if (worker.step() == 0) {
        std::ranges::copy(worker.parameters(), start_.span().begin());
        origin_ = own_origin_ = origin_of(start_.span());
        rebuild(worker);
        return wait_for_members(context, static_cast<std::size_t>(run_.members_min));
    }
    own_origin_ = origin_of(start_.span());
    ATOLL_TRY(check_origin());
    return check_position(worker, round_, inner_steps_);
}

// True: on with exchanged_, which is agreed, or our own if that could not be had. False: a peer's numbers
// were adopted.
Result<bool> ScalarTuning::exchange(Context& context, RoundReport& report) {
    constexpr float kRounding = 1e-5F;  // of a mean of equal numbers
    constexpr int kExchangesMax = 4;
    const double start = context.host.now();
    std::vector<std::string> reasons;
    bool agreed = false;
    for (int exchange = 0; !agreed && exchange < kExchangesMax; ++exchange) {
        if (context.stop.requested())
            return Error{ErrorCode::interrupted, fmt::format("stopped in the exchange of round {}", round_)};
        exchanged_[kBound] = static_cast<float>(norm_max());
        exchanged_[kFingerprint] = exchanged_[kBound] * fingerprint();
        const float own = exchanged_[kFingerprint];
        std::ranges::copy(scalars_.span(), exchanged_.begin() + kScalars);
        std::vector<gossip::AveragePart> parts = {{.values = exchanged_, .codec = &context.codec}};
        ATOLL_ASSIGN(report.average, context.averaging.average(round_, parts));
        for (const std::string& reason : report.average.reasons) reasons.push_back(reason);

        agreed = report.average.agreed;
        const std::uint64_t round = round_;
        if (!agreed) {
            ATOLL_TRY(catch_up(context, *this, CatchUp::after_incomplete_round));
            ATOLL_TRY(check_origin());
            if (round_ != round) return false;
        } else if (round > 0 && std::abs(exchanged_[kFingerprint] - own) > kRounding * exchanged_[kBound]) {
            // Parts of the network that did not see each other went on alone, or somebody began elsewhere.
            agreed = false;
            const gossip::PeerId leader = context.inbox.view().members.front();
            reasons.push_back(
                fmt::format("earlier rounds differ: all take those of {}", leader.short_name()));
            if (leader != context.host.self()) {
                ATOLL_ASSIGN(const bool followed, follow(context, leader));
                if (followed) return false;
            }
        }
    }
    if (!agreed) {
        // Whatever keeps us apart, waiting has not mended it. If the others have other numbers now, the
        // fingerprints of a later round will show it.
        reasons.push_back(
            fmt::format("round {} was not agreed in {} exchanges: going on without", round_, kExchangesMax));
    }
    report.average.complete = report.average.complete && reasons.empty();
    report.average.reasons = std::move(reasons);
    report.exchange_seconds = context.host.now() - start;
    return true;
}

// Takes the numbers of a peer, though it may be no further than we are.
Result<bool> ScalarTuning::follow(Context& context, const gossip::PeerId& leader) {
    const StateFetchOptions options{
        .bytes = shared_state_bytes(*this), .newer_than = round_ - 1, .round_max = rounds()};
    const auto fetched = fetch_state(context.host, {leader}, options);
    if (!fetched) {
        if (fetched.error().code == ErrorCode::interrupted) return fetched.error();
        log::warn("round {}: {}", round_, fetched.error().message);
        return false;
    }
    if (!fetched->has_value()) return false;
    ATOLL_TRY(adopt_shared_state((*fetched)->bytes, (*fetched)->round, *this, context.worker));
    publish_state(context.host, *this);
    ATOLL_TRY(check_origin());
    return true;
}

ScalarTuning::Origin ScalarTuning::origin_of(std::span<const float> start) {
    const Hash hash = blake2b(std::as_bytes(start));
    static_assert(sizeof(Hash) == 2 * std::tuple_size_v<Origin>);
    Origin origin;
    for (std::size_t i = 0; i < origin.size(); ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, hash.data() + i * sizeof bits, sizeof bits);
        origin[i] = bits;
    }
    return origin;
}

Status ScalarTuning::check_origin() const {
    if (origin_ == own_origin_) return {};
    return Error{
        ErrorCode::refused,
        "this member began with other parameters than the run, and numbers without them are no model: "
        "give it the model that the others began with (--init), and begin anew"};
}

float ScalarTuning::fingerprint() const {
    HashStream stream;
    stream.update(std::as_bytes(std::span(origin_)));
    stream.update(std::as_bytes(numbers_.span()));
    const Hash hash = stream.finish();
    std::uint32_t bits = 0;
    std::memcpy(&bits, hash.data(), sizeof bits);
    return static_cast<float>(bits >> 8U) * 0x1p-24F;
}

// The model of round_.
void ScalarTuning::rebuild(Worker& worker) {
    const std::span<float> x = worker.parameters();
    const auto known = static_cast<std::ptrdiff_t>(model_numbers_.size());
    const bool onward = replay_ == Replay::onward && !model_numbers_.empty() && model_round_ <= round_ &&
                        std::equal(model_numbers_.begin(), model_numbers_.end(), numbers_.span().begin(),
                                   numbers_.span().begin() + known);
    std::ranges::copy(onward ? model_.span() : start_.span(), x.begin());
    worker.parameters_changed();
    // Not all rounds at once: a joiner replays thousands, and their terms take memory.
    constexpr std::uint64_t kRoundsAtOnce = 256;
    for (std::uint64_t from = onward ? model_round_ : 0; from < round_;) {
        const std::uint64_t to =
            replay_ == Replay::from_start ? round_ : std::min(round_, from + kRoundsAtOnce);
        worker.add_normals(terms(from, to));
        from = to;
    }
    if (replay_ == Replay::from_start) return;
    std::ranges::copy(x, model_.span().begin());
    model_round_ = round_;
    const auto numbers = numbers_.span().first(static_cast<std::size_t>(round_) * scalars_.size());
    model_numbers_.assign(numbers.begin(), numbers.end());
}

void ScalarTuning::adopted(Worker& worker) {
    // A joiner's own parameters are those that the run began with.
    if (worker.step() == 0) {
        std::ranges::copy(worker.parameters(), start_.span().begin());
        own_origin_ = origin_of(start_.span());
    }
    worker.set_step(round_ * inner_steps_);
    std::ranges::fill(scalars_.span(), 0.0F);
    rebuild(worker);
}

std::vector<StateVector> ScalarTuning::state() {
    return {{"numbers", numbers_.span(), true},
            {"origin", std::span(origin_), true},
            {"start", start_.span()},
            {"scalars", scalars_.span()}};
}

bool ScalarTuning::reserve(std::string_view name) {
    const auto vectors = state();
    return std::ranges::any_of(vectors, [&](const StateVector& vector) { return vector.name == name; });
}

double ScalarTuning::learning_rate(std::uint64_t step) const {
    return peak_rate_ * schedule_->fraction(schedule_options_, static_cast<std::int64_t>(step) + 1);
}

Result<model::Slope> ScalarTuning::measure(Worker& worker, model::Draw draw, std::uint64_t direction) const {
    ATOLL_ASSIGN(model::Slope slope, model::measure_slope(worker, draw, direction, perturbation_));
    slope.value = model::clipped(slope.value, clip_norm_);
    return slope;
}

Status check_scalar_tuning(const RunConfig& config) {
    const auto refuse = [&](const std::string& what, const std::string& expected) {
        return Error{ErrorCode::invalid, fmt::format("algorithm.name = {} but {}: expected {}",
                                                     config.algorithm.name, what, expected)};
    };
    const auto& optimizer = config.optimizer;
    if (optimizer.name != "mezo")
        return refuse(fmt::format("optimizer.name = {}", optimizer.name), "mezo, whose steps it takes");
    if (optimizer.weight_decay != 0) {
        return refuse(fmt::format("optimizer.weight_decay = {}", optimizer.weight_decay),
                      "0, as the model is the sum of what was measured");
    }
    if (optimizer.clip_norm == 0) {
        return refuse("optimizer.clip_norm = 0", "a bound, as 1: one huge slope would spoil every replica");
    }
    ATOLL_ASSIGN(const gossip::AveragingEntry* averaging,
                 find_entry("averaging.name", config.averaging.name, gossip::averagings()));
    if (!averaging->agrees) {
        return refuse(fmt::format("averaging.name = {}", averaging->name),
                      "one after which all members hold the same bits, as all_reduce");
    }
    if (config.codec.name != "none")
        return refuse(fmt::format("codec.name = {}", config.codec.name),
                      "none: a few numbers are sent exactly");
    const RunConfig::AlgorithmTable defaults;
    const auto& options = config.algorithm;
    if (options.outer_optimizer != defaults.outer_optimizer ||
        options.outer_learning_rate != defaults.outer_learning_rate ||
        options.outer_momentum != defaults.outer_momentum) {
        return refuse("a key algorithm.outer_* is set", "none of them, as it takes no outer step");
    }
    return {};
}

}  // namespace Atoll::federation

#include "federation/algorithm/synchronous_training.h"

#include <algorithm>

#include "base/log.h"
#include "federation/algorithm/steps.h"
#include "federation/catch_up.h"
#include "federation/shared_state.h"

namespace Atoll::federation {

namespace {

constexpr int kTries = 3;                // of an exchange, before a member goes on alone
constexpr std::size_t kReasonsMax = 16;  // in the report of a round

// The exchanges of a round, as one.
void add(gossip::AverageReport& total, const gossip::AverageReport& one) {
    total.members = one.members;
    total.weight = one.weight;
    total.complete = total.complete && one.complete;
    total.bytes_sent += one.bytes_sent;
    total.seconds += one.seconds;
    for (const auto& reason : one.reasons) {
        const bool known = std::ranges::find(total.reasons, reason) != total.reasons.end();
        if (!known && total.reasons.size() < kReasonsMax) total.reasons.push_back(reason);
    }
}

}  // namespace

SynchronousTraining::SynchronousTraining(const RunConfig& config, std::size_t parameters,
                                         std::uint64_t exchanges)
    : run_(config.run),
      inner_steps_(static_cast<std::uint64_t>(config.algorithm.inner_steps)),
      exchanges_(exchanges),
      x_(parameters),
      residuals_(config.codec, parameters) {}

Status SynchronousTraining::run(Context& context) {
    Worker& worker = context.worker;
    if (round_ == 0 && worker.step() == 0) {
        std::ranges::copy(worker.parameters(), x_.span().begin());
        ATOLL_TRY(wait_for_members(context, static_cast<std::size_t>(run_.members_min)));
    }
    ATOLL_TRY(check_position(worker, round_, inner_steps_));
    publish_state(context.host, *this);
    while (round_ < rounds()) {
        RoundReport report;
        ATOLL_TRY(take_inner_steps(context, round_, (round_ + 1) * inner_steps_, report,
                                   [&](Worker&) { return step(context, report); }));
        report.compute_seconds -= report.exchange_seconds;
        ATOLL_TRY(check_finite(worker.parameters(), worker.step()));
        round_ = worker.step() / inner_steps_;
        report.update_norm = distance(x_.span(), worker.parameters());
        std::ranges::copy(worker.parameters(), x_.span().begin());
        ATOLL_TRY(end_round(context, *this, report));
    }
    return {};
}

Result<gossip::AverageReport> SynchronousTraining::average(Context& context, std::uint64_t exchange,
                                                           std::span<float> values) {
    const gossip::Codec& codec = contribution_codec(context);
    gossip::AveragePart part{.values = values, .codec = &codec, .step = &owner_step()};
    if (const auto residuals = residuals_.next(codec, exchanges_); !residuals.empty())
        part.residuals = {residuals[exchange % exchanges_]};
    return context.averaging.average(exchange, {&part, 1});
}

Result<std::optional<std::uint64_t>> SynchronousTraining::settle(Context& context, std::uint64_t exchange,
                                                                 std::span<float> values,
                                                                 gossip::AverageReport average,
                                                                 RoundReport& report) {
    for (int tried = 1;; ++tried) {
        add(report.average, average);
        if (average.stepped) return average.stepped;
        const std::uint64_t before = context.worker.step();
        ATOLL_TRY(catch_up(context, *this, CatchUp::after_incomplete_round));
        if (context.worker.step() != before) return std::optional<std::uint64_t>();
        if (tried == kTries) break;
        ATOLL_ASSIGN(average, this->average(context, exchange, values));
    }
    const bool able = owner_step().may_own() && owner_step().weight() > 0;
    if (!able) return std::optional<std::uint64_t>();
    log::warn("step {} is taken alone: {} exchanges with the others failed", context.worker.step(), kTries);
    gossip::step_alone(owner_step(), values);
    return std::optional(exchange);
}

void SynchronousTraining::adopted(Worker& worker) {
    residuals_.forget();
    set_parameters(worker, x_.span(), round_ * inner_steps_);
}

std::vector<StateVector> SynchronousTraining::state() {
    std::vector<StateVector> vectors = {{"parameters", x_.span(), true}};
    residuals_.append_to(vectors);
    return vectors;
}

bool SynchronousTraining::reserve(std::string_view name) {
    return name == "parameters" || residuals_.reserve(name);
}

}  // namespace Atoll::federation

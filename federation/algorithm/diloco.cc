#include "federation/algorithm/diloco.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/check.h"
#include "federation/algorithm/entries.h"
#include "federation/algorithm/steps.h"
#include "federation/shared_state.h"

namespace Atoll::federation {

Diloco::Diloco(const RunConfig& config, std::size_t parameters, std::unique_ptr<OuterOptimizer> outer)
    : run_(config.run),
      options_(config.algorithm),
      local_steps_(config.algorithm),
      speed_(kernels::Layout::kSlotAlignment),
      outer_(std::move(outer)),
      anchor_(parameters),
      delta_(parameters),
      residuals_(config.codec, parameters) {
    auto exact = gossip::make_codec("none", {});
    ATOLL_CHECK(exact.ok());
    exact_ = std::move(*exact);
    slice_ = kernels::FlatBuffer(round_slice(anchor_.span()).size());  // the first slice: none is longer
}

Status Diloco::run(Context& context) {
    Worker& worker = context.worker;
    ATOLL_TRY(begin(context));
    publish_state(context.host, *this);
    while (round_ < rounds()) {
        RoundReport report;
        ATOLL_TRY(inner_steps(context, report));  // H times: theta_m <- InnerOpt(theta_m, gradient)

        const std::span<const float> theta = worker.parameters();
        for (std::size_t i = 0; i < delta_.size(); ++i) delta_.data()[i] = anchor_.data()[i] - theta[i];
        ATOLL_TRY(average(context, report));  // Delta <- mean of the members' Delta_m

        outer_->step(anchor_.span(), delta_.span());  // Theta <- OuterOpt(Theta, Delta)
        ++round_;
        if (local_steps_.dynamic())
            worker.set_step(round_ * static_cast<std::uint64_t>(options_.inner_steps));
        restart_from_anchor(worker);  // theta_m <- Theta
        ATOLL_TRY(end_round(context, *this, report));
    }
    return {};
}

Status Diloco::begin(Context& context) {
    if (round_ == 0 && context.worker.step() == 0) {
        std::ranges::copy(context.worker.parameters(), anchor_.span().begin());
        return wait_for_members(context, static_cast<std::size_t>(run_.members_min));
    }
    const auto inner_steps = static_cast<std::uint64_t>(options_.inner_steps);
    const std::uint64_t begin = round_ * inner_steps;
    const std::uint64_t step = context.worker.step();
    if (step >= begin && step <= begin + local_steps_.steps()) return {};
    return check_position(context.worker, round_, inner_steps);
}

Status Diloco::inner_steps(Context& context, RoundReport& report) {
    const std::uint64_t begin = round_ * static_cast<std::uint64_t>(options_.inner_steps);
    ATOLL_TRY(take_inner_steps(context, round_, begin + local_steps_.steps(), report));
    local_steps_.measure(report);
    return {};
}

Status Diloco::average(Context& context, RoundReport& report) {
    ATOLL_TRY(check_finite(delta_.span(), context.worker.step()));
    context.inbox.absorb();  // the number of stages follows from the newest view
    std::vector<gossip::AveragePart> parts;
    parts.push_back({.values = delta_.span(), .codec = &context.codec});
    parts.front().residuals = residuals_.next(context.codec, context.averaging.stages(context.inbox.view()));
    // Gossip with losses and quantisation gives every member a slightly different mean, and outer steps add
    // the differences up. Averaging a rotating slice of the anchors pulls them together again: their distance
    // shrinks by a constant factor every anchor_slices rounds.
    const std::span<float> anchor = round_slice(anchor_.span());
    const std::span<float> slice = slice_.span().first(anchor.size());
    std::ranges::copy(anchor, slice.begin());  // the anchor itself stays whole if the exchange is interrupted
    if (!slice.empty()) parts.push_back({.values = slice, .codec = exact_.get(), .rotates = true});
    if (local_steps_.dynamic()) {
        speed_.data()[0] = static_cast<float>(local_steps_.speed());
        parts.push_back({.values = speed_.span(), .codec = exact_.get(), .rotates = true});
    }

    const double start = context.host.now();
    ATOLL_ASSIGN(report.average, context.averaging.average(round_, parts));
    report.exchange_seconds = context.host.now() - start;
    report.update_norm = norm(delta_.span());
    anchors_met(anchor, slice, round_slice(delta_.span()));
    // All members together take as many steps as with H each.
    local_steps_.follow(static_cast<double>(speed_.data()[0]));
    return {};
}

void Diloco::anchors_met(std::span<float> anchor, std::span<const float> met, std::span<float> /*delta*/) {
    std::ranges::copy(met, anchor.begin());
}

void Diloco::restart_from_anchor(Worker& worker) {
    std::ranges::copy(anchor_.span(), worker.parameters().begin());
    worker.parameters_changed();
}

void Diloco::adopted(Worker& worker) {
    worker.set_step(round_ * static_cast<std::uint64_t>(options_.inner_steps));
    residuals_.forget();
    restart_from_anchor(worker);
}

std::span<float> Diloco::round_slice(std::span<float> vector) const {
    return slice_of(vector, round_, static_cast<std::size_t>(options_.anchor_slices));
}

std::span<float> slice_of(std::span<float> vector, std::uint64_t round, std::size_t slices) {
    if (slices == 0) return {};
    constexpr std::size_t kGrain = kernels::Layout::kSlotAlignment;
    const std::size_t length = ((vector.size() + slices - 1) / slices + kGrain - 1) / kGrain * kGrain;
    const std::size_t size = std::min(length, vector.size());  // of every slice: the last ones overlap
    return vector.subspan(std::min(round % slices * length, vector.size() - size), size);
}

std::vector<StateVector> Diloco::state() {
    std::vector<StateVector> vectors = {{"anchor", anchor_.span(), true}};
    for (const auto& part : outer_->state()) vectors.push_back({"outer." + part.name, part.values, true});
    if (local_steps_.dynamic()) vectors.push_back(local_steps_.state());
    residuals_.append_to(vectors);
    return vectors;
}

bool Diloco::reserve(std::string_view name) {
    if (residuals_.reserve(name)) return true;
    const auto vectors = state();
    return std::ranges::any_of(vectors, [&](const StateVector& vector) { return vector.name == name; });
}

std::unique_ptr<OuterOptimizer> make_outer(const RunConfig& config, std::size_t parameters) {
    const auto& options = config.algorithm;
    auto outer = make_outer_optimizer(options.outer_optimizer,
                                      {.learning_rate = options.outer_learning_rate,
                                       .momentum = options.outer_momentum,
                                       .beta2 = options.outer_beta2,
                                       .epsilon = options.outer_epsilon},
                                      parameters);
    ATOLL_CHECK(outer.ok());  // validate() has seen the name
    return std::move(*outer);
}

std::unique_ptr<Algorithm> make_diloco(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<Diloco>(config, parameters, make_outer(config, parameters));
}

}  // namespace Atoll::federation

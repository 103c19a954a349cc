#include "federation/algorithm/steps.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "federation/catch_up.h"
#include "federation/shared_state.h"

namespace Atoll::federation {

namespace {

constexpr double kProgressSeconds = 1;  // between two ProgressMade
constexpr double kStopCheckSeconds = 0.25;
constexpr double kLogSeconds = 10;

bool stop_requested(const Context& context) { return context.stop.requested() || context.host.stopping(); }

Error interrupted(std::uint64_t step) {
    return {ErrorCode::interrupted, fmt::format("stopped after step {}", step)};
}

void report_progress(Context& context, std::uint64_t round, double loss) {
    const Status sent = context.host.send(
        context.host.self(), gossip::ProgressMade{round, context.worker.step(), context.tokens, loss}, {});
    if (!sent) log::debug("progress was not posted: {}", sent.error().message);
}

}  // namespace

Status wait_for_members(Context& context, std::size_t count) {
    double log_time = context.host.now();
    while (!stop_requested(context)) {
        if (context.inbox.wait_for_members(count, context.host.now() + kStopCheckSeconds)) return {};
        if (context.host.now() < log_time) continue;
        log::info("waiting for members: {} of {} are here", context.inbox.view().size(), count);
        log_time = context.host.now() + kLogSeconds;
    }
    return Error{ErrorCode::interrupted, fmt::format("stopped while waiting for members ({} of {})",
                                                     context.inbox.view().size(), count)};
}

Status check_position(const Worker& worker, std::uint64_t round, std::uint64_t inner_steps) {
    const std::uint64_t step = worker.step();
    if (step >= round * inner_steps && step <= (round + 1) * inner_steps) return {};
    return Error{
        ErrorCode::corrupt,
        fmt::format("restored state does not fit together: step {} is not in round {} of {} steps each; "
                    "start from another checkpoint",
                    step, round, inner_steps)};
}

Status take_inner_steps(Context& context, std::uint64_t round, std::uint64_t end, RoundReport& report,
                        const TakeStep& take_step) {
    Worker& worker = context.worker;
    const double start = context.host.now();
    double progress_time = start;
    double loss_sum = report.steps > 0 ? report.train_loss * static_cast<double>(report.steps) : 0;
    while (worker.step() < end) {
        if (stop_requested(context)) return interrupted(worker.step());
        ATOLL_ASSIGN(const StepResult result, take_step(worker));
        ATOLL_TRY(context.observer.on_step(result, worker.step()));
        report.tokens += result.tokens;
        context.tokens += result.tokens;
        loss_sum += result.loss;
        ++report.steps;
        if (context.host.now() >= progress_time) {
            report_progress(context, round, result.loss);
            progress_time = context.host.now() + kProgressSeconds;
        }
    }
    report.train_loss = report.steps > 0 ? loss_sum / static_cast<double>(report.steps) : std::nan("");
    report.compute_seconds += context.host.now() - start;
    return {};
}

Status end_round(Context& context, Algorithm& algorithm, RoundReport& report) {
    publish_state(context.host, algorithm);
    report.round = algorithm.round();
    report.step = context.worker.step();
    ATOLL_TRY(context.observer.on_round(report, algorithm));
    if (report.average.complete) return {};
    return catch_up(context, algorithm, CatchUp::after_incomplete_round);
}

void set_parameters(Worker& worker, std::span<const float> parameters, std::uint64_t step) {
    worker.set_step(step);
    std::ranges::copy(parameters, worker.parameters().begin());
    worker.parameters_changed();
}

Status check_finite(std::span<const float> update, std::uint64_t step) {
    if (std::isfinite(norm(update))) return {};
    return Error{ErrorCode::failed,
                 fmt::format("the parameters are not finite after step {}: training diverged; lower "
                             "optimizer.learning_rate and resume from the last checkpoint",
                             step)};
}

double norm(std::span<const float> values) {
    double sum = 0;
    for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
    return std::sqrt(sum);
}

double distance(std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
        sum += difference * difference;
    }
    return std::sqrt(sum);
}

}  // namespace Atoll::federation

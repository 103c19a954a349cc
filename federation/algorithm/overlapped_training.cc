#include "federation/algorithm/overlapped_training.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "base/check.h"

namespace Atoll::federation {

OverlappedTraining::OverlappedTraining(const RunConfig& config, std::size_t parameters,
                                       std::uint64_t exchanges)
    : ShardedTraining(config, parameters, exchanges),
      // A float counts as far, and the weight on the wire further.
      batches_max_(config.algorithm.batches_max > 0 ? static_cast<std::uint64_t>(config.algorithm.batches_max)
                                                    : std::uint64_t{1} << 20U),
      gradient_(parameters),
      sum_(parameters),
      exchanged_(parameters) {}

Status OverlappedTraining::accumulate(Worker& worker, Work& work) {
    ATOLL_ASSIGN(const StepResult result, worker.gradient(gradient_.span()));
    const float* const g = gradient_.data();
    float* const sum = sum_.data();
    for (std::size_t i = 0; i < sum_.size(); ++i) sum[i] += g[i];
    count_ += 1;
    // The mean loss over the batches so far.
    const double before = static_cast<double>(work.batches);
    work.result.loss = (work.result.loss * before + result.loss) / (before + 1);
    work.result.gradient_norm = (work.result.gradient_norm * before + result.gradient_norm) / (before + 1);
    work.result.tokens += result.tokens;
    work.result.learning_rate = result.learning_rate;
    ++work.batches;
    return {};
}

void OverlappedTraining::clear_gradients() {
    std::ranges::fill(sum_.span(), 0.0F);
    count_ = 0;
}

Result<std::optional<std::uint64_t>> OverlappedTraining::exchange_meanwhile(Context& context,
                                                                            std::uint64_t exchange,
                                                                            bool clear, Work& work,
                                                                            RoundReport& report) {
    const float scale = count_ > 0 ? 1 / count_ : 0;
    for (std::size_t i = 0; i < sum_.size(); ++i) exchanged_.data()[i] = scale * sum_.data()[i];
    if (clear) clear_gradients();

    std::atomic<bool> over = false;
    std::optional<Result<gossip::AverageReport>> outcome;
    const std::unique_ptr<gossip::Activity> activity = context.host.spawn("exchange", [&] {
        outcome = average(context, exchange, values());
        over = true;
    });
    Status computed;
    const std::uint64_t until = work.batches + batches_max_;
    do {
        computed = accumulate(context.worker, work);
    } while (computed.ok() && !over && work.batches < until);

    const double idle = context.host.now();
    activity->join();
    ATOLL_TRY(computed);
    ATOLL_CHECK(outcome.has_value());
    if (!*outcome) return outcome->error();
    auto settled = settle(context, exchange, values(), std::move(**outcome), report);
    report.exchange_seconds += context.host.now() - idle;
    return settled;
}

void OverlappedTraining::load(Worker& worker, std::span<const float> parameters) {
    std::ranges::copy(parameters, worker.parameters().begin());
    worker.parameters_changed();
}

void OverlappedTraining::adopted(Worker& worker) {
    ShardedTraining::adopted(worker);
    clear_gradients();
}

std::vector<StateVector> OverlappedTraining::state() {
    std::vector<StateVector> vectors = ShardedTraining::state();
    vectors.push_back({"gradient_sum", sum_.span(), false});
    vectors.push_back({"gradient_count", {&count_, 1}, false});
    return vectors;
}

bool OverlappedTraining::reserve(std::string_view name) {
    return name == "gradient_sum" || name == "gradient_count" || ShardedTraining::reserve(name);
}

}  // namespace Atoll::federation

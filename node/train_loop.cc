#include "node/train_loop.h"

#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <numeric>

#include "model/io/checkpoint.h"

namespace Atoll::node {

TrainLoop::TrainLoop(const Config& config, Replica& replica, RunFolder& folder, EventSink& events,
                     Progress& progress)
    : config_(config),
      replica_(replica),
      folder_(folder),
      events_(events),
      progress_(progress),
      energy_(config.local.watts_per_thread) {}

Status TrainLoop::resume(const std::filesystem::path& origin) {
    const bool own = !model::list_checkpoints(folder_.checkpoints()).empty();
    if (!own && origin.empty()) return {};
    ATOLL_ASSIGN(auto restored, federation::restore_member(own ? folder_.checkpoints() : origin, config_.run,
                                                           *replica_.trainer, nullptr));
    totals_.tokens = restored.counters["tokens"];
    energy_before_ = 1e-3 * static_cast<double>(restored.counters["energy_millijoules"]);
    if (own) saved_step_ = restored.step;
    totals_.checkpoint = restored.path.string();
    progress_.note(fmt::format("continuing at step {} from {}", restored.step, totals_.checkpoint));
    return {};
}

Result<TrainTotals> TrainLoop::run(std::uint64_t steps, const StopToken& stop) {
    model::Trainer& trainer = *replica_.trainer;
    if (trainer.step() == 0) ATOLL_TRY(validate());
    progress_.update({trainer.step(), steps, 0, 0});
    while (trainer.step() < steps && !stop.requested()) ATOLL_TRY(step(steps));
    totals_.interrupted = trainer.step() < steps;
    if (!totals_.interrupted) ATOLL_TRY(validate());  // a stop should be quick: only save then
    ATOLL_TRY(save());
    const EnergyReading energy = energy_.read();
    totals_.energy_joules = energy_before_ + energy.joules;
    totals_.energy_source = energy.source;
    return totals_;
}

Status TrainLoop::step(std::uint64_t steps) {
    model::Trainer& trainer = *replica_.trainer;
    const auto begin = std::chrono::steady_clock::now();
    ATOLL_ASSIGN(const model::TrainStep result, trainer.inner_step());
    const double seconds = span("compute", begin);
    totals_.seconds += seconds;
    totals_.tokens += result.tokens;
    totals_.tokens_here += result.tokens;
    losses_.push_back(result.loss);
    if (losses_.size() > kLossWindow) losses_.erase(losses_.begin());
    totals_.train_loss =
        std::accumulate(losses_.begin(), losses_.end(), 0.0) / static_cast<double>(losses_.size());

    const std::uint64_t at = trainer.step();
    const auto every = [at](std::int64_t period) {
        return period > 0 && at % static_cast<std::uint64_t>(period) == 0;
    };
    progress_.update({at, steps, totals_.tokens_here, totals_.train_loss});
    if (every(config_.local.log_steps) || at == steps) {
        (void)energy_.read();  // counters must not wrap unseen
        ATOLL_TRY(events_.write({unix_now(),
                                 "step",
                                 at,
                                 {{"loss", result.loss},
                                  {"learning_rate", result.learning_rate},
                                  {"gradient_norm", result.gradient_norm},
                                  {"tokens", static_cast<std::int64_t>(totals_.tokens)},
                                  {"tokens_per_second", static_cast<double>(result.tokens) / seconds}}}));
    }
    if (every(config_.local.validation_steps) && at != steps) ATOLL_TRY(validate());
    save_due_ = save_due_ || every(config_.local.checkpoint_steps);
    if (save_due_ && !trainer.in_trial()) ATOLL_TRY(save());
    return {};
}

double TrainLoop::span(std::string_view name, std::chrono::steady_clock::time_point begin) {
    const std::chrono::duration<double> from = begin - start_;
    const std::chrono::duration<double> until = std::chrono::steady_clock::now() - start_;
    if (trace_ != nullptr) trace_->span(0, "train", name, from.count(), until.count());
    return (until - from).count();
}

Status TrainLoop::validate() {
    const std::uint64_t at = replica_.trainer->step();
    if (validated_step_ == at) return {};
    const auto begin = std::chrono::steady_clock::now();
    ATOLL_ASSIGN(totals_.val_loss, replica_.trainer->validation_loss());
    (void)span("evaluate", begin);
    validated_step_ = at;
    if (std::isfinite(totals_.val_loss)) {
        progress_.note(fmt::format("step {}: held-out loss {:.4f} nats per token, perplexity {:.3f}", at,
                                   totals_.val_loss, std::exp(totals_.val_loss)));
    } else {
        progress_.note(
            "no held-out loss: less than a batch of text is held out (data prepare --held-out takes more)");
    }
    return events_.write({unix_now(), "validation", at, {{"loss", totals_.val_loss}}});
}

Status TrainLoop::save() {
    (void)replica_.trainer->drop_trial();
    const std::uint64_t at = replica_.trainer->step();
    if (saved_step_ == at) return {};
    const auto begin = std::chrono::steady_clock::now();
    auto request = checkpoint_request(config_.local, folder_.checkpoints());
    request.counters = {
        {"tokens", totals_.tokens},
        {"energy_millijoules", static_cast<std::uint64_t>(1e3 * (energy_before_ + energy_.read().joules))}};
    ATOLL_ASSIGN(const auto path, federation::save_member(request, config_.run, *replica_.trainer, nullptr));
    saved_step_ = at;
    save_due_ = false;
    totals_.checkpoint = path.string();
    const double seconds = span("checkpoint", begin);
    return events_.write({unix_now(), "checkpoint", at, {{"path", path.string()}, {"seconds", seconds}}});
}

}  // namespace Atoll::node

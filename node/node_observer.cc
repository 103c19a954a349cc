#include "node/node_observer.h"

#include <fmt/core.h>

#include <cmath>

namespace Atoll::node {

namespace {

constexpr double kLossSmoothing = 0.1;  // weight of the newest step in the displayed training loss

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Where the checkpoint's tokenizer comes from: the folder of the data, if it holds one.
std::filesystem::path tokenizer_of(const LocalConfig& local) {
    const std::filesystem::path path = std::filesystem::path(local.data) / "tokenizer.json";
    std::error_code code;
    return std::filesystem::exists(path, code) ? path : std::filesystem::path();
}

// A ring all-reduce of fp32 gradients each step: every node sends 2 (n - 1) / n of them (Patarasu and Yuan
// 2009).
std::uint64_t data_parallel_bytes(std::uint64_t steps, std::size_t members, std::uint64_t parameters) {
    if (members < 2) return 0;
    const double share = 2.0 * static_cast<double>(members - 1) / static_cast<double>(members);
    return static_cast<std::uint64_t>(share * static_cast<double>(steps) * 4.0 *
                                      static_cast<double>(parameters));
}

}  // namespace

NodeObserver::NodeObserver(const Config& config, Replica& replica, gossip::Host& host,
                           const RunFolder& folder, EventSink& events, Progress& progress, NodeBoard& board)
    : config_(config),
      replica_(replica),
      host_(host),
      folder_(folder),
      events_(events),
      progress_(progress),
      board_(board),
      energy_(config.local.watts_per_thread) {}

void NodeObserver::restore(const federation::RestoredMember& restored) {
    before_ = restored;
    saved_step_ = restored.step;
    board_.change([&](NodeState& state) {
        state.step = restored.step;
        state.round = restored.round;
        state.tokens = before_.counters["tokens"];
        state.bytes_data_parallel = before_.counters["bytes_data_parallel"];
        state.rounds_incomplete = before_.counters["rounds_incomplete"];
    });
    refresh();
}

void NodeObserver::refresh() {
    EnergyReading energy;
    {
        const std::lock_guard lock(energy_mutex_);
        energy = energy_.read();
    }
    const gossip::Host::Traffic traffic = host_.traffic();
    const auto before = [this](const char* name) {
        const auto it = before_.counters.find(name);
        return it == before_.counters.end() ? std::uint64_t{0} : it->second;
    };
    board_.change([&](NodeState& state) {
        state.bytes_sent = before("bytes_sent") + traffic.bytes_sent;
        state.bytes_received = before("bytes_received") + traffic.bytes_received;
        state.messages_lost = traffic.messages_lost;
        state.energy_joules = static_cast<double>(before("energy_millijoules")) / 1000 + energy.joules;
        state.energy_source = energy.source;
        state.carbon_grams = carbon_grams(state.energy_joules, config_.local.power_usage_effectiveness,
                                          config_.local.grid_grams_per_kwh);
    });
}

Status NodeObserver::on_step(const federation::StepResult& result, std::uint64_t step) {
    const double seconds = seconds_since(step_begin_);
    step_begin_ = std::chrono::steady_clock::now();
    ++steps_in_round_;
    tokens_here_ += result.tokens;
    ProgressState shown{.step = step, .steps_total = 0, .tokens = tokens_here_, .loss = 0};
    double speed = 0;
    std::uint64_t tokens = 0;
    board_.change([&](NodeState& state) {
        state.phase = "training";
        state.step = step;
        state.tokens += result.tokens;
        state.train_loss = std::isfinite(state.train_loss)
                               ? state.train_loss + kLossSmoothing * (result.loss - state.train_loss)
                               : result.loss;
        state.learning_rate = result.learning_rate;
        state.gradient_norm = result.gradient_norm;
        // The first step of a round has waited for the exchange: it says nothing about computing.
        if (steps_in_round_ > 1 && seconds > 0)
            state.tokens_per_second = static_cast<double>(result.tokens) / seconds;
        speed = state.tokens_per_second;
        tokens = state.tokens;
        shown.steps_total = state.steps;
        shown.loss = state.train_loss;
    });
    progress_.update(shown);
    if (config_.local.log_steps > 0 && step % static_cast<std::uint64_t>(config_.local.log_steps) == 0) {
        return events_.write({unix_now(),
                              "step",
                              step,
                              {{"loss", result.loss},
                               {"learning_rate", result.learning_rate},
                               {"gradient_norm", result.gradient_norm},
                               {"tokens", static_cast<std::int64_t>(tokens)},
                               {"tokens_per_second", speed}}});
    }
    return {};
}

Status NodeObserver::on_round(const federation::RoundReport& report, federation::Algorithm& algorithm) {
    const std::uint64_t parallel =
        data_parallel_bytes(steps_in_round_, report.average.members, replica_.trainer->layout().parameters());
    steps_in_round_ = 0;
    std::string reasons;
    for (const std::string& reason : report.average.reasons)
        reasons += (reasons.empty() ? "" : "; ") + reason;
    board_.change([&](NodeState& state) {
        state.round = report.round;
        state.step = report.step;
        state.train_loss = report.train_loss;
        state.compute_seconds = report.compute_seconds;
        state.exchange_seconds = report.exchange_seconds;
        state.bytes_data_parallel += parallel;
        if (!report.average.complete) {
            ++state.rounds_incomplete;
            state.incomplete_reason = reasons;
        }
    });
    refresh();
    const auto every = [&](std::int64_t period) {
        return period > 0 && report.round % static_cast<std::uint64_t>(period) == 0;
    };
    const bool last = report.round >= algorithm.rounds();
    if (every(config_.local.validation_rounds) || last) ATOLL_TRY(validate());
    const NodeState state = board_.read();
    progress_.note(fmt::format("round {}: loss {:.4f}, held out {:.4f}, {} members{}, {} bytes sent",
                               report.round, report.train_loss, state.val_loss, report.average.members,
                               report.average.complete ? "" : " (incomplete: " + reasons + ")",
                               state.bytes_sent));
    ATOLL_TRY(events_.write({unix_now(),
                             "round",
                             report.step,
                             {{"round", static_cast<std::int64_t>(report.round)},
                              {"loss", report.train_loss},
                              {"val_loss", state.val_loss},
                              {"update_norm", report.update_norm},
                              {"members", static_cast<std::int64_t>(report.average.members)},
                              {"weight", report.average.weight},
                              {"complete", report.average.complete},
                              {"reasons", reasons},
                              {"compute_seconds", report.compute_seconds},
                              {"exchange_seconds", report.exchange_seconds},
                              {"bytes_sent", static_cast<std::int64_t>(state.bytes_sent)},
                              {"bytes_received", static_cast<std::int64_t>(state.bytes_received)},
                              {"energy_joules", state.energy_joules}}}));
    if (every(config_.local.checkpoint_rounds) || last) ATOLL_TRY(save(algorithm));
    step_begin_ = std::chrono::steady_clock::now();
    return {};
}

Status NodeObserver::persist(federation::Algorithm& algorithm) {
    validated_step_.reset();  // a federated client takes the last model without a step
    return write_checkpoint(algorithm);
}

Status NodeObserver::validate() {
    const std::uint64_t step = replica_.trainer->step();
    if (validated_step_ == step) return {};
    ATOLL_ASSIGN(const double loss, replica_.trainer->validation_loss());
    validated_step_ = step;
    board_.change([loss](NodeState& state) { state.val_loss = loss; });
    return events_.write({unix_now(), "validation", step, {{"loss", loss}}});
}

Status NodeObserver::save(federation::Algorithm& algorithm) {
    const std::uint64_t step = replica_.trainer->step();
    if (saved_step_ == step && step != 0) return {};
    return write_checkpoint(algorithm);
}

Status NodeObserver::write_checkpoint(federation::Algorithm& algorithm) {
    const std::uint64_t step = replica_.trainer->step();
    const auto begin = std::chrono::steady_clock::now();
    refresh();
    const NodeState state = board_.read();
    const federation::MemberSave request{
        .folder = folder_.checkpoints(),
        .policy = {.keep_last = config_.local.checkpoint_keep,
                   .keep_every = config_.local.checkpoint_keep_every},
        .tokenizer = tokenizer_of(config_.local),
        .counters = {{"tokens", state.tokens},
                     {"bytes_sent", state.bytes_sent},
                     {"bytes_received", state.bytes_received},
                     {"bytes_data_parallel", state.bytes_data_parallel},
                     {"rounds_incomplete", state.rounds_incomplete},
                     {"energy_millijoules", static_cast<std::uint64_t>(state.energy_joules * 1000)}}};
    ATOLL_ASSIGN(const auto path,
                 federation::save_member(request, config_.run, *replica_.trainer, &algorithm));
    saved_step_ = step;
    return events_.write(
        {unix_now(), "checkpoint", step, {{"path", path.string()}, {"seconds", seconds_since(begin)}}});
}

}  // namespace Atoll::node

#include "node/demo/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include "model/data/english.h"
#include "model/data/prepare.h"
#include "node/training.h"

namespace Atoll::node {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kInnerSteps =
    60;                                  // H: a round moves 2.5 bytes a parameter, 60 data-parallel steps 360
constexpr std::int64_t kRoundsMin = 4;   // outer momentum needs a few rounds to pay
constexpr double kTrainingShare = 0.92;  // of the time; the rest is exchange, waiting, checkpoints
constexpr double kCalibrationSeconds = 3;
constexpr int kWarmUpSteps = 3;
constexpr std::int64_t kHeldOutBatches = 32;

Status prepare_text(const DemoRequest& request, const fs::path& shards, const StopToken& stop,
                    Progress& progress) {
    model::PrepareOptions options;
    const fs::path scratch = request.folder / "text";
    if (request.data.empty()) {
        ATOLL_ASSIGN(options.inputs, model::write_english_text(scratch));
    } else {
        options.inputs = {request.data};
    }
    options.out = shards;
    options.progress = [&](std::uint64_t bytes, std::uint64_t total) {
        progress.show(fmt::format("reading {}B of {}B of text", short_number(static_cast<double>(bytes)),
                                  short_number(static_cast<double>(total))));
        return !stop.requested();
    };
    ATOLL_ASSIGN(const auto report, model::prepare_data(options));
    progress.note(fmt::format("{}B of English text, {}B of them held out",
                              short_number(static_cast<double>(report.tokens)),
                              short_number(static_cast<double>(report.val_tokens))));
    std::error_code code;
    fs::remove_all(scratch, code);
    return {};
}

// Steps per second of one replica with one thread; nothing if training fails.
std::optional<double> measure(const Config& config, std::uint64_t member, std::uint64_t members) {
    auto replica = make_replica(config, DataPart{.member = member, .members = members, .stream = 0});
    if (!replica) return std::nullopt;
    for (int i = 0; i < kWarmUpSteps; ++i) {
        if (!replica->trainer->inner_step()) return std::nullopt;
    }
    const auto begin = std::chrono::steady_clock::now();
    double passed = 0;
    int steps = 0;
    for (; passed < kCalibrationSeconds; ++steps) {
        if (!replica->trainer->inner_step()) return std::nullopt;
        passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    return steps / passed;
}

// Steps per second of each node while all nodes share the cores: as many replicas at once as there are cores.
Result<double> measure_node(const Config& config, std::int64_t nodes) {
    const auto cores = static_cast<std::int64_t>(std::max(1U, std::thread::hardware_concurrency()));
    const std::int64_t replicas = std::min(cores, nodes);
    std::vector<std::optional<double>> speeds(static_cast<std::size_t>(replicas));
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 0; i < speeds.size(); ++i) {
            threads.emplace_back([&, i] { speeds[i] = measure(config, i, speeds.size()); });
        }
    }
    double total = 0;
    for (const auto& speed : speeds) {
        if (!speed)
            return Error{ErrorCode::failed,
                         "the first training steps failed; atoll train --data ... shows why"};
        total += *speed;
    }
    return total / static_cast<double>(nodes);
}

}  // namespace

Result<std::unique_ptr<Config>> demo_config(const GlobalFlags& flags, const DemoRequest& request) {
    const std::string shards = (request.folder / "data").string();
    const std::vector<Override> choices = {
        {"run.name", "demo", "demo", true},
        {"run.members_min", std::to_string(request.nodes), "demo", false},
        {"optimizer.learning_rate", "0.003", "demo", true},
        {"optimizer.batch_sequences", "4", "demo", true},
        {"averaging.deadline_seconds", "10", "demo", true},
        {"local.data", shards, "demo", false},
        {"local.threads", "1", "demo", true},
        {"local.validation_batches", std::to_string(kHeldOutBatches), "demo", true},
        {"local.validation_rounds", "0", "demo", true},
    };
    return load_config(flags, choices);
}

DemoLength demo_length(double steps) {
    const auto whole = std::max<std::int64_t>(kRoundsMin, static_cast<std::int64_t>(steps));
    const std::int64_t inner = std::min(kInnerSteps, whole / kRoundsMin);
    return {std::max<std::int64_t>(1, (whole + inner / 2) / inner), inner};
}

Result<DemoPlan> plan_demo(const GlobalFlags& flags, const DemoRequest& request, const StopToken& stop,
                           Progress& progress) {
    DemoPlan plan;
    ATOLL_ASSIGN(plan.config, demo_config(flags, request));
    Config& config = *plan.config;
    ATOLL_TRY(prepare_text(request, config.local.data, stop, progress));
    progress.note("measuring this machine's speed");
    ATOLL_ASSIGN(plan.steps_per_second, measure_node(config, request.nodes));
    ATOLL_ASSIGN(const Replica replica, make_replica(config));
    ATOLL_ASSIGN(plan.val_loss_start, replica.trainer->validation_loss());

    const DemoLength length = demo_length(request.seconds * kTrainingShare * plan.steps_per_second);
    const auto choose = [&config](const char* key, std::int64_t value) -> Status {
        if (config.options.find(key)->origin != "default") return {};
        return config.options.set(key, std::to_string(value), "demo");
    };
    ATOLL_TRY(choose("algorithm.inner_steps", length.inner_steps));
    ATOLL_TRY(choose("run.rounds", length.rounds));
    const std::int64_t steps = federation::schedule_steps(config.run);
    if (config.run.schedule.warmup_steps >= steps / 4) {
        ATOLL_TRY(config.options.set("schedule.warmup_steps", std::to_string(steps / 4), "demo"));
    }
    ATOLL_TRY(federation::validate(config.run));
    return plan;
}

Result<double> demo_validation(const Config& config, const fs::path& checkpoints) {
    ATOLL_ASSIGN(const Replica replica, make_replica(config));
    ATOLL_TRY(federation::restore_member(checkpoints, config.run, *replica.trainer, nullptr));
    return replica.trainer->validation_loss();
}

}  // namespace Atoll::node

#include "federation/algorithm/gossip_training.h"

#include <fmt/core.h>

#include <algorithm>

#include "federation/algorithm/checks.h"
#include "federation/algorithm/steps.h"
#include "federation/names.h"
#include "federation/shared_state.h"
#include "model/optim/optimizer.h"
#include "model/optim/schedule.h"

namespace Atoll::federation {

GossipTraining::GossipTraining(const RunConfig& config, std::size_t parameters, std::size_t vectors)
    : run_(config.run),
      inner_steps_(static_cast<std::uint64_t>(config.algorithm.inner_steps)),
      x_(parameters),
      exchanged_(parameters * vectors),
      residuals_(config.codec, parameters * vectors) {}

Status GossipTraining::run(Context& context) {
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
                                   [this](Worker& local) { return local_step(local); }));
        ATOLL_TRY(mix(context, report));
        ++round_;
        ATOLL_TRY(end_round(context, *this, report));
    }
    return {};
}

Status GossipTraining::mix(Context& context, RoundReport& report) {
    Worker& worker = context.worker;
    const std::size_t size = x_.size();
    std::vector<std::span<float>> vectors = companions();
    vectors.insert(vectors.begin(), worker.parameters());
    ATOLL_TRY(check_finite(vectors.front(), worker.step()));
    context.inbox.absorb();  // the number of stages follows from the newest view
    const auto residuals = residuals_.next(context.codec, context.averaging.stages(context.inbox.view()));
    std::vector<gossip::AveragePart> parts;
    for (std::size_t i = 0; i < vectors.size(); ++i) {
        const std::span<float> values = exchanged_.span().subspan(i * size, size);
        std::ranges::copy(vectors[i], values.begin());
        parts.push_back({.values = values, .codec = &context.codec});
        for (const auto& stage : residuals) parts.back().residuals.push_back(stage.subspan(i * size, size));
    }

    const double start = context.host.now();
    ATOLL_ASSIGN(report.average, context.averaging.average(round_, parts));
    report.exchange_seconds = context.host.now() - start;

    for (std::size_t i = 0; i < vectors.size(); ++i) std::ranges::copy(parts[i].values, vectors[i].begin());
    settle(worker, report);
    return {};
}

void GossipTraining::settle(Worker& worker, RoundReport& report) {
    worker.parameters_changed();
    const std::span<const float> after = worker.parameters();
    report.update_norm = distance(x_.span(), after);
    mixed(x_.span(), after);
    std::ranges::copy(after, x_.span().begin());
}

void GossipTraining::adopted(Worker& worker) {
    residuals_.forget();
    set_parameters(worker, x_.span(), round_ * inner_steps_);
}

std::vector<StateVector> GossipTraining::state() {
    std::vector<StateVector> vectors = {{"parameters", x_.span(), true}};
    residuals_.append_to(vectors);
    return vectors;
}

bool GossipTraining::reserve(std::string_view name) {
    if (residuals_.reserve(name)) return true;
    const auto vectors = state();
    return std::ranges::any_of(vectors, [&](const StateVector& vector) { return vector.name == name; });
}

Result<StepResult> OwnStep::take_gradient(Worker& worker) {
    ATOLL_ASSIGN(const StepResult result, worker.gradient(gradient_.span()));
    const auto scale = static_cast<float>(model::clip_scale(result.gradient_norm, clip_norm_));
    if (scale != 1) {
        for (float& g : gradient_.span()) g *= scale;
    }
    return result;
}

void OwnStep::move(Worker& worker, std::span<const float> direction, double learning_rate) const {
    const std::span<float> x = worker.parameters();
    const auto kept = static_cast<float>(1 - learning_rate * weight_decay_);
    for (const model::DecayRange& range : model::decay_ranges(worker.layout())) {
        if (!range.decays || kept == 1) continue;
        for (float& value : x.subspan(range.offset, range.size)) value *= kept;
    }
    const auto rate = static_cast<float>(learning_rate);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] -= rate * direction[i];
    worker.parameters_changed();
}

void OwnStep::descend(Worker& worker, std::span<const float> direction, double learning_rate) const {
    move(worker, direction, learning_rate);
    worker.set_step(worker.step() + 1);
}

Status check_gossip_training(const RunConfig& config) {
    constexpr double kErrorMax = 0.01;
    const auto codecs = gossip::codecs();
    ATOLL_ASSIGN(const gossip::CodecEntry* codec, find_entry("codec.name", config.codec.name, codecs));
    if (codec->sparse || codec->error_max > kErrorMax) {
        std::string fine;
        for (const auto& entry : codecs) {
            if (entry.sparse || entry.error_max > kErrorMax) continue;
            fine += fmt::format("{}{}", fine.empty() ? "" : ", ", entry.name);
        }
        return Error{ErrorCode::invalid,
                     fmt::format("codec.name = {} is too coarse for algorithm.name = {}, which sends the "
                                 "parameters themselves: expected one of {} (diloco bears the others)",
                                 config.codec.name, config.algorithm.name, fine)};
    }
    return check_no_outer_step(config);
}

Status check_sgd(const RunConfig& config, Momentum momentum) {
    ATOLL_TRY(check_gossip_training(config));
    return check_sgd_optimizer(config, momentum);
}

Status check_sgd_optimizer(const RunConfig& config, Momentum momentum) {
    const auto& optimizer = config.optimizer;
    if (optimizer.name != "sgd") {
        return Error{ErrorCode::invalid,
                     fmt::format("algorithm.name = {} but optimizer.name = {}: expected sgd (for adaptive "
                                 "optimizers there is decentralized_adam)",
                                 config.algorithm.name, optimizer.name)};
    }
    if (momentum == Momentum::none && optimizer.beta1 != 0) {
        return Error{ErrorCode::invalid,
                     fmt::format("algorithm.name = {} has no momentum but optimizer.beta1 = {}: expected 0 "
                                 "(with momentum there are dsgdm and qg_dsgdm)",
                                 config.algorithm.name, optimizer.beta1)};
    }
    if (momentum == Momentum::needed && (optimizer.beta1 <= 0 || optimizer.beta1 >= 1)) {
        return Error{ErrorCode::invalid,
                     fmt::format("algorithm.name = {} needs momentum but optimizer.beta1 = {}: expected more "
                                 "than 0 and less than 1, as 0.9 (without momentum there is dsgd)",
                                 config.algorithm.name, optimizer.beta1)};
    }
    return {};
}

}  // namespace Atoll::federation

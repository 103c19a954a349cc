#include "model/trainer.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/rng.h"
#include "model/optim/validate.h"

namespace Atoll::model {

namespace {

Error wrong(std::string_view key, const std::string& value, const std::string& expected) {
    return {ErrorCode::invalid, fmt::format("{} = {}: expected {}", key, value, expected)};
}

Status validate(const TrainerOptions& o) {
    ATOLL_TRY(validate(o.model));
    if (o.accumulation < 1 || o.batch_sequences < 1 || o.batch_sequences % o.accumulation != 0) {
        return wrong("optimizer.batch_sequences", std::to_string(o.batch_sequences),
                     fmt::format("a positive multiple of optimizer.accumulation ({})", o.accumulation));
    }
    if (o.sequence < 1 || o.sequence > o.model.context) {
        return wrong("sequence", std::to_string(o.sequence),
                     fmt::format("1 to model.context ({})", o.model.context));
    }
    // The arena holds some 15 values a token, channel and layer: far inside 64 bits up to here.
    constexpr std::int64_t kRowsMax = std::int64_t{1} << 26;
    if (o.batch_sequences / o.accumulation > kRowsMax / o.sequence) {
        return wrong("optimizer.batch_sequences", std::to_string(o.batch_sequences),
                     fmt::format("at most {} tokens a micro-batch; raise optimizer.accumulation", kRowsMax));
    }
    if (o.rate_search) ATOLL_TRY(validate_rate_search(*o.rate_search));
    ATOLL_TRY(validate_optimizer(o.optimizer, o.optimizer_options, o.model));
    return {};
}

}  // namespace

Result<std::unique_ptr<Trainer>> Trainer::make(kernels::Ops& ops, BatchSource& data,
                                               const TrainerOptions& options) {
    TrainerOptions complete = options;
    if (complete.sequence == 0) complete.sequence = options.model.context;
    if (complete.rate_search && complete.rate_search->window == 0) {
        complete.rate_search->window = default_window(*complete.rate_search, options.schedule_options.steps);
    }
    ATOLL_TRY(validate(complete));
    ATOLL_ASSIGN(const ScheduleEntry* schedule, find_schedule(options.schedule));
    ATOLL_ASSIGN(const OptimizerEntry* entry, find_optimizer(options.optimizer));
    if (entry->forward_only) complete.keep = Keep::nothing;
    std::unique_ptr<Trainer> trainer(new Trainer(ops, data, complete, *schedule, entry->forward_only));
    OptimizerOptions& optimizer = trainer->options_.optimizer_options;
    optimizer.seed = options.seed;
    optimizer.batch_tokens = complete.batch_sequences * complete.sequence;
    optimizer.head_dim = options.model.head_dim;
    optimizer.scales = trainer->scales_;
    ATOLL_ASSIGN(trainer->optimizer_,
                 model::make_optimizer(options.optimizer, ops, trainer->layout(), optimizer));
    return trainer;
}

Result<std::unique_ptr<Optimizer>> Trainer::make_optimizer(const kernels::Layout& layout) {
    if (!shard_ops_) shard_ops_ = kernels::make_cpu_ops(1);
    OptimizerOptions options = options_.optimizer_options;
    options.scales.clear();  // of other tensors: this is for the standard parameterization, where all are 1
    return model::make_optimizer(options_.optimizer, *shard_ops_, layout, options);
}

Trainer::Trainer(kernels::Ops& ops, BatchSource& data, const TrainerOptions& options,
                 const ScheduleEntry& schedule, bool forward_only)
    : ops_(ops),
      data_(data),
      options_(options),
      schedule_(schedule),
      forward_only_(forward_only),
      transformer_(ops, options.model,
                   {.rows_max = options.batch_sequences / options.accumulation * options.sequence,
                    .precision = options.precision,
                    .keep = options.keep,
                    .z_loss = options.z_loss}),
      parameters_(transformer_.layout().size()),
      gradients_(forward_only ? 0 : transformer_.layout().size()),
      batch_{.batch = options.batch_sequences / options.accumulation, .sequence = options.sequence} {
    scales_ = tensor_scales(options.model, transformer_.layout());
    if (options.rate_search) search_.emplace(*options.rate_search);
    transformer_.initialize(parameters_.span(), Rng(options.seed).split("parameters"));
    ops_.weights_changed();
}

void Trainer::seek(const Position& position) {
    position_ = position;
    data_.seek(position.data);
}

double Trainer::learning_rate() const {
    const auto next = static_cast<std::int64_t>(position_.step) + 1;
    const double rate = options_.learning_rate * schedule_.fraction(options_.schedule_options, next);
    return search_ ? rate * search_->factor() : rate;
}

Status Trainer::check_tokens() const {
    const auto rows = static_cast<std::size_t>(batch_.batch * batch_.sequence);
    ATOLL_CHECK(batch_.inputs.size() == rows && batch_.targets.size() == rows);
    const auto outside = [&](std::int32_t id) { return id >= options_.model.vocabulary || id < -1; };
    for (std::size_t i = 0; i < rows; ++i) {
        if (batch_.inputs[i] >= 0 && !outside(batch_.inputs[i]) && !outside(batch_.targets[i])) continue;
        const std::int32_t id = outside(batch_.targets[i]) ? batch_.targets[i] : batch_.inputs[i];
        return Error{
            ErrorCode::corrupt,
            fmt::format(
                "token id {} in the data is outside the model's vocabulary of {}: prepare the data with "
                "the model's tokenizer, or set model.vocabulary",
                id, options_.model.vocabulary)};
    }
    return {};
}

Result<TrainStep> Trainer::gradient(std::span<float> gradient) {
    return gradient_at(parameters_.span(), gradient);
}

Result<TrainStep> Trainer::gradient_at(std::span<const float> parameters, std::span<float> gradient) {
    if (forward_only_) {
        return Error{ErrorCode::invalid,
                     fmt::format("optimizer.name = {} keeps nothing to compute a gradient with, and this run "
                                 "asks for one: expected an optimizer that steps along gradients, as adamw",
                                 options_.optimizer)};
    }
    TrainStep result;
    const double share = 1 / static_cast<double>(options_.accumulation);
    for (std::int64_t i = 0; i < options_.accumulation; ++i) {
        ATOLL_TRY(data_.next(batch_));
        ATOLL_TRY(check_tokens());
        result.loss += share * transformer_.forward_backward(
                                   parameters, gradient, batch_, share,
                                   i == 0 ? Transformer::Accumulate::no : Transformer::Accumulate::yes);
        result.tokens += static_cast<std::uint64_t>(batch_.batch * batch_.sequence);
    }
    result.gradient_norm = gradient_norm(gradient);
    result.learning_rate = learning_rate();
    if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) {
        return Error{
            ErrorCode::failed,
            fmt::format(
                "step {}: loss {}, gradient norm {}: training diverged; lower optimizer.learning_rate "
                "({}), lengthen schedule.warmup_steps or lower optimizer.clip_norm, and resume from "
                "the last checkpoint",
                position_.step + 1, result.loss, result.gradient_norm, options_.learning_rate)};
    }
    return result;
}

// In units of the parameterization's table, in which it does not grow with depth.
double Trainer::gradient_norm(std::span<const float> gradient) {
    const auto& slots = layout().slots();
    double squares = 0;
    for (std::size_t begin = 0, end = 0; begin < slots.size(); begin = end) {
        const double factor = scales_[begin].gradient;
        while (end < slots.size() && scales_[end].gradient == factor) ++end;
        const std::size_t from = slots[begin].offset;
        const std::size_t to = end < slots.size() ? slots[end].offset : gradient.size();
        squares += factor * factor * ops_.squared_norm(gradient.data() + from, to - from);
    }
    return std::sqrt(squares);
}

Result<BatchLoss> Trainer::loss(Draw draw) {
    if (draw == Draw::next) drawn_at_ = data_.position();
    data_.seek(drawn_at_);
    ops_.weights_changed();
    BatchLoss result;
    for (std::int64_t i = 0; i < options_.accumulation; ++i) {
        ATOLL_TRY(data_.next(batch_));
        ATOLL_TRY(check_tokens());
        result.loss += transformer_.forward(parameters_.span(), batch_);
        result.tokens += static_cast<std::uint64_t>(batch_.batch * batch_.sequence);
    }
    result.loss /= static_cast<double>(options_.accumulation);
    return result;
}

void Trainer::add_normals(std::span<const kernels::NormalTerm> terms) {
    for (const auto& run : layout().runs())
        ops_.add_normals(terms, run.offset, parameters_.data() + run.offset, run.size);
    ops_.weights_changed();
}

Result<TrainStep> Trainer::forward_step() {
    const double rate = learning_rate();
    ATOLL_ASSIGN(const ForwardReport report,
                 optimizer_->forward_step({.objective = *this,
                                           .parameters = parameters_.span(),
                                           .learning_rate = rate,
                                           .clip_norm = options_.clip_norm,
                                           .step = static_cast<std::int64_t>(position_.step) + 1}));
    ops_.weights_changed();
    ++position_.step;
    return TrainStep{report.loss, report.tokens, report.slope, rate};
}

// The gradient of the next batch with targets drawn from the model, which the data never sees.
Status Trainer::estimate_curvature() {
    if (curvature_.size() == 0) curvature_ = kernels::FlatBuffer(parameters_.size());
    const std::uint64_t data_position = data_.position();
    const double share = 1 / static_cast<double>(options_.accumulation);
    Rng rng = Rng(position_.step).split("curvature");
    for (std::int64_t i = 0; i < options_.accumulation; ++i) {
        ATOLL_TRY(data_.next(batch_));
        ATOLL_TRY(check_tokens());
        transformer_.sample_targets(parameters_.span(), batch_, rng, batch_.targets);
        (void)transformer_.forward_backward(
            parameters_.span(), curvature_.span(), batch_, share,
            i == 0 ? Transformer::Accumulate::no : Transformer::Accumulate::yes);
    }
    data_.seek(data_position);
    optimizer_->curvature(curvature_.span());
    return {};
}

Result<TrainStep> Trainer::inner_step() {
    auto result = take_step();
    if (!search_) return result;
    if (!result && in_trial() &&
        result.error().code == ErrorCode::failed) {  // it diverged, or data is unreadable
        roll_back();
        search_->trial_diverged();
        result = take_step();
    }
    if (!result) return result;
    switch (search_->observe(static_cast<std::int64_t>(position_.step), result->loss)) {
        case RateSearch::Order::save: remember(); break;
        case RateSearch::Order::roll_back: roll_back(); break;
        case RateSearch::Order::go_on: break;
    }
    return result;
}

std::vector<StateVector> Trainer::optimizer_state() {
    std::vector<StateVector> vectors;
    if (optimizer_) vectors = optimizer_->state();
    if (search_) vectors.push_back({"rate_search", search_->state()});
    return vectors;
}

std::size_t Trainer::optimizer_state_bytes() {
    std::size_t bytes = 0;
    for (const StateVector& vector : optimizer_state()) bytes += vector.values.size_bytes();
    return bytes;
}

bool Trainer::drop_trial() {
    if (!in_trial()) return false;
    roll_back();
    search_->trial_dropped();
    return true;
}

void Trainer::remember() {
    if (snapshot_.parameters.size() == 0) snapshot_.parameters = kernels::FlatBuffer(parameters_.size());
    std::ranges::copy(parameters_.span(), snapshot_.parameters.data());
    snapshot_.state.clear();
    for (const StateVector& vector : optimizer_->state())
        snapshot_.state.emplace_back(vector.values.begin(), vector.values.end());
    snapshot_.position = position();
}

void Trainer::roll_back() {
    std::ranges::copy(snapshot_.parameters.span(), parameters_.data());
    const std::vector<StateVector> vectors = optimizer_->state();
    for (std::size_t i = 0; i < vectors.size(); ++i)
        std::ranges::copy(snapshot_.state[i], vectors[i].values.begin());
    seek(snapshot_.position);
    ops_.weights_changed();
}

Result<TrainStep> Trainer::take_step() {
    if (forward_only_) return forward_step();
    ATOLL_CHECK(optimizer_ != nullptr);
    if (optimizer_->wants_curvature(static_cast<std::int64_t>(position_.step) + 1)) {
        ATOLL_TRY(estimate_curvature());
    }
    const auto point = optimizer_->gradient_point(parameters_.span());
    if (point.data() != parameters_.data()) ops_.weights_changed();
    ATOLL_ASSIGN(const TrainStep result, gradient_at(point, gradients_.span()));
    optimizer_->step({.parameters = parameters_.span(),
                      .gradients = gradients_.span(),
                      .learning_rate = result.learning_rate,
                      .gradient_scale = clip_scale(result.gradient_norm, options_.clip_norm),
                      .step = static_cast<std::int64_t>(position_.step) + 1});
    ops_.weights_changed();
    ++position_.step;
    return result;
}

Result<double> Trainer::validation_loss() {
    const auto count = std::min(data_.held_out_count(batch_.batch, batch_.sequence),
                                static_cast<std::uint64_t>(options_.held_out_batches_max));
    if (count == 0) return std::numeric_limits<double>::quiet_NaN();
    double sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        ATOLL_TRY(data_.held_out(i, batch_));
        ATOLL_TRY(check_tokens());
        sum += transformer_.forward(parameters_.span(), batch_);
    }
    return sum / static_cast<double>(count);
}

}  // namespace Atoll::model

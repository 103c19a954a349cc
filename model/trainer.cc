#include "model/trainer.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/rng.h"
#include "model/island/shards.h"
#include "model/optim/validate.h"

namespace Atoll::model {

namespace {

Error wrong(std::string_view key, const std::string& value, const std::string& expected) {
    return {ErrorCode::invalid, fmt::format("{} = {}: expected {}", key, value, expected)};
}

Status validate(const TrainerOptions& o, int ranks) {
    ATOLL_TRY(validate(o.model));
    if (o.accumulation < 1 || o.batch_sequences < 1 || o.batch_sequences % o.accumulation != 0) {
        return wrong("optimizer.batch_sequences", std::to_string(o.batch_sequences),
                     fmt::format("a positive multiple of optimizer.accumulation ({})", o.accumulation));
    }
    if (o.batch_sequences % (o.accumulation * ranks) != 0) {
        return wrong(
            "optimizer.batch_sequences", std::to_string(o.batch_sequences),
            fmt::format(
                "a multiple of optimizer.accumulation ({}) times the number of ranks ({}), which share "
                "every micro-batch",
                o.accumulation, ranks));
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

// Mezo's and dizo's view of the trainer, in a step that all ranks take.
class Trainer::Own final : public Objective {
  public:
    explicit Own(Trainer& trainer) : trainer_(trainer) {}
    Result<BatchLoss> loss(Draw draw) override { return trainer_.loss_together(draw); }
    void add_normals(std::span<const kernels::NormalTerm> terms) override {
        trainer_.add_normals_here(terms);
    }

  private:
    Trainer& trainer_;
};

Result<std::unique_ptr<Trainer>> Trainer::make(kernels::Ops& ops, BatchSource& data,
                                               const TrainerOptions& options, kernels::Collective* ranks) {
    TrainerOptions complete = options;
    if (complete.sequence == 0) complete.sequence = options.model.context;
    if (complete.rate_search && complete.rate_search->window == 0) {
        complete.rate_search->window = default_window(*complete.rate_search, options.schedule_options.steps);
    }
    ATOLL_TRY(validate(complete, ranks == nullptr ? 1 : ranks->size()));
    ATOLL_ASSIGN(const ScheduleEntry* schedule, find_schedule(options.schedule));
    ATOLL_ASSIGN(const OptimizerEntry* entry, find_optimizer(options.optimizer));
    if (entry->forward_only) complete.keep = Keep::nothing;
    std::unique_ptr<Trainer> trainer(new Trainer(ops, data, complete, *schedule, *entry, ranks));
    OptimizerOptions& optimizer = trainer->options_.optimizer_options;
    optimizer.seed = options.seed;
    optimizer.batch_tokens = complete.batch_sequences * complete.sequence;
    optimizer.head_dim = options.model.head_dim;
    if (trainer->ranks_.size() == 1 || entry->forward_only) {
        optimizer.scales = trainer->scales_;
        ATOLL_ASSIGN(trainer->optimizer_,
                     model::make_optimizer(options.optimizer, ops, trainer->layout(), optimizer));
        return trainer;
    }
    Shard shard = shard_of(trainer->layout(), trainer->scales_, trainer->parts_, trainer->ranks_.rank());
    optimizer.scales = std::move(shard.scales);
    trainer->optimizer_ = entry->make(ops, shard.layout, optimizer);
    return trainer;
}

Result<std::unique_ptr<Optimizer>> Trainer::make_optimizer(const kernels::Layout& layout) {
    if (!shard_ops_) shard_ops_ = kernels::make_cpu_ops(1);
    OptimizerOptions options = options_.optimizer_options;
    options.scales.clear();  // of other tensors: this is for the standard parameterization, where all are 1
    return model::make_optimizer(options_.optimizer, *shard_ops_, layout, options);
}

Trainer::Trainer(kernels::Ops& ops, BatchSource& data, const TrainerOptions& options,
                 const ScheduleEntry& schedule, const OptimizerEntry& optimizer, kernels::Collective* ranks)
    : ops_(ops),
      alone_(ranks == nullptr ? kernels::make_alone() : nullptr),
      ranks_(ranks == nullptr ? *alone_ : *ranks),
      part_(ranks_.size() == 1 ? std::nullopt
                               : std::optional<RankPart>({data, ranks_.rank(), ranks_.size()})),
      data_(part_ ? static_cast<BatchSource&>(*part_) : data),
      options_(options),
      schedule_(schedule),
      forward_only_(optimizer.forward_only),
      transformer_(
          ops, options.model,
          {.rows_max = options.batch_sequences / options.accumulation / ranks_.size() * options.sequence,
           .precision = options.precision,
           .keep = options.keep,
           .z_loss = options.z_loss}),
      scales_(tensor_scales(options.model, transformer_.layout())),
      parts_(optimizer_parts(transformer_.layout(), scales_, optimizer.coupled, ranks_.size())),
      parameters_(transformer_.layout().size()),
      gradients_(forward_only_ ? 0 : transformer_.layout().size()),
      shared_state_(ranks_),
      batch_{.batch = options.batch_sequences / options.accumulation / ranks_.size(),
             .sequence = options.sequence} {
    if (options.rate_search) search_.emplace(*options.rate_search);
    transformer_.initialize(parameters_.span(), Rng(options.seed).split("parameters"));
    ops_.weights_changed();
}

void Trainer::seek_here(const Position& position) {
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

Result<TrainStep> Trainer::gradient_together(std::span<float> gradient) {
    ATOLL_ASSIGN(const TrainStep result, gradient_at(parameters_.span(), gradient));
    ATOLL_TRY(ranks_.all_gather(gradient, parts_));
    return result;
}

// The rank's share of the mean over the step's tokens.
Status Trainer::add_gradients(std::span<const float> parameters, std::span<float> gradient,
                              TrainStep& result) {
    const double share = 1 / static_cast<double>(options_.accumulation * ranks_.size());
    for (std::int64_t i = 0; i < options_.accumulation; ++i) {
        ATOLL_TRY(data_.next(batch_));
        ATOLL_TRY(check_tokens());
        result.loss += share * transformer_.forward_backward(
                                   parameters, gradient, batch_, share,
                                   i == 0 ? Transformer::Accumulate::no : Transformer::Accumulate::yes);
        result.tokens += static_cast<std::uint64_t>(batch_.batch * batch_.sequence * ranks_.size());
    }
    return {};
}

Result<TrainStep> Trainer::gradient_at(std::span<const float> parameters, std::span<float> gradient) {
    if (forward_only_) {
        return Error{ErrorCode::invalid,
                     fmt::format("optimizer.name = {} keeps nothing to compute a gradient with, and this run "
                                 "asks for one: expected an optimizer that steps along gradients, as adamw",
                                 options_.optimizer)};
    }
    TrainStep result;
    ATOLL_TRY(ranks_.agree(add_gradients(parameters, gradient, result)));
    ATOLL_TRY(ranks_.sum({&result.loss, 1}));
    ATOLL_TRY(ranks_.reduce_scatter(gradient, parts_));
    ATOLL_ASSIGN(result.gradient_norm, gradient_norm(gradient));
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

// In units of the parameterization's table, in which it does not grow with depth. Each rank has its own part
// of the gradient.
Result<double> Trainer::gradient_norm(std::span<const float> gradient) {
    const auto& slots = layout().slots();
    const std::size_t part_begin = parts_.begin(ranks_.rank()), part_end = parts_.end(ranks_.rank());
    double squares = 0;
    for (std::size_t begin = 0, end = 0; begin < slots.size(); begin = end) {
        const double factor = scales_[begin].gradient;
        while (end < slots.size() && scales_[end].gradient == factor) ++end;
        const std::size_t from = std::max(slots[begin].offset, part_begin);
        const std::size_t to = std::min(end < slots.size() ? slots[end].offset : gradient.size(), part_end);
        if (from < to) squares += factor * factor * ops_.squared_norm(gradient.data() + from, to - from);
    }
    ATOLL_TRY(ranks_.sum({&squares, 1}));
    return std::sqrt(squares);
}

Status Trainer::add_losses(BatchLoss& result) {
    for (std::int64_t i = 0; i < options_.accumulation; ++i) {
        ATOLL_TRY(data_.next(batch_));
        ATOLL_TRY(check_tokens());
        result.loss += transformer_.forward(parameters_.span(), batch_);
        result.tokens += static_cast<std::uint64_t>(batch_.batch * batch_.sequence * ranks_.size());
    }
    return {};
}

Result<BatchLoss> Trainer::loss_together(Draw draw) {
    if (draw == Draw::next) drawn_at_ = data_.position();
    data_.seek(drawn_at_);
    ops_.weights_changed();
    BatchLoss result;
    ATOLL_TRY(ranks_.agree(add_losses(result)));
    ATOLL_TRY(ranks_.sum({&result.loss, 1}));
    result.loss /= static_cast<double>(options_.accumulation * ranks_.size());
    return result;
}

void Trainer::add_normals_here(std::span<const kernels::NormalTerm> terms) {
    for (const auto& run : layout().runs())
        ops_.add_normals(terms, run.offset, parameters_.data() + run.offset, run.size);
    ops_.weights_changed();
}

Result<TrainStep> Trainer::forward_step() {
    const double rate = learning_rate();
    Own objective(*this);
    ATOLL_ASSIGN(const ForwardReport report,
                 optimizer_->forward_step({.objective = objective,
                                           .parameters = parameters_.span(),
                                           .learning_rate = rate,
                                           .clip_norm = options_.clip_norm,
                                           .step = static_cast<std::int64_t>(position_.step) + 1}));
    ops_.weights_changed();
    ++position_.step;
    return TrainStep{report.loss, report.tokens, report.slope, rate};
}

// A target takes one Rng::uniform(): every rank finds the draws of its rows among those of all.
Status Trainer::add_curvature() {
    const double share = 1 / static_cast<double>(options_.accumulation * ranks_.size());
    const auto words = static_cast<std::uint64_t>(2 * batch_.batch * batch_.sequence);
    Rng rng = Rng(position_.step).split("curvature");
    for (std::int64_t i = 0; i < options_.accumulation; ++i) {
        ATOLL_TRY(data_.next(batch_));
        ATOLL_TRY(check_tokens());
        rng.seek(words * static_cast<std::uint64_t>(i * ranks_.size() + ranks_.rank()));
        transformer_.sample_targets(parameters_.span(), batch_, rng, batch_.targets);
        (void)transformer_.forward_backward(
            parameters_.span(), curvature_.span(), batch_, share,
            i == 0 ? Transformer::Accumulate::no : Transformer::Accumulate::yes);
    }
    return {};
}

// The gradient of the next batch with targets drawn from the model, which the data never sees.
Status Trainer::estimate_curvature() {
    if (curvature_.size() == 0) curvature_ = kernels::FlatBuffer(parameters_.size());
    const std::uint64_t data_position = data_.position();
    ATOLL_TRY(ranks_.agree(add_curvature()));
    ATOLL_TRY(ranks_.reduce_scatter(curvature_.span(), parts_));
    data_.seek(data_position);
    optimizer_->curvature(own(std::span<const float>(curvature_.span())));
    return {};
}

// Ranks' optimizers that want the gradient elsewhere than at the parameters each say so for their own part.
Result<std::span<const float>> Trainer::gradient_point() {
    const auto parameters = own(std::span<const float>(parameters_.span()));
    const auto point = optimizer_->gradient_point(parameters);
    if (point.data() == parameters.data()) return std::span<const float>(parameters_.span());
    ops_.weights_changed();
    if (ranks_.size() == 1) return point;
    if (point_.size() == 0) point_ = kernels::FlatBuffer(parameters_.size());
    std::ranges::copy(point, own(point_.span()).begin());
    ATOLL_TRY(ranks_.all_gather(point_.span(), parts_));
    return std::span<const float>(point_.span());
}

Result<TrainStep> Trainer::inner_step_together() {
    shared_state_.release();
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
    const bool everywhere = forward_only_;  // these step all tensors at every rank
    for (StateVector& vector : vectors) vector.common |= everywhere || vector.name == "rate_search";
    return vectors;
}

std::size_t Trainer::optimizer_state_bytes() {
    std::size_t bytes = 0;
    for (const StateVector& vector : optimizer_state()) bytes += vector.values.size_bytes();
    return bytes;
}

bool Trainer::drop_trial_here() {
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
    seek_here(snapshot_.position);
    ops_.weights_changed();
}

Result<TrainStep> Trainer::take_step() {
    if (forward_only_) return forward_step();
    ATOLL_CHECK(optimizer_ != nullptr);
    if (optimizer_->wants_curvature(static_cast<std::int64_t>(position_.step) + 1)) {
        ATOLL_TRY(estimate_curvature());
    }
    ATOLL_ASSIGN(const auto point, gradient_point());
    ATOLL_ASSIGN(const TrainStep result, gradient_at(point, gradients_.span()));
    optimizer_->step({.parameters = own(parameters_.span()),
                      .gradients = own(std::span<const float>(gradients_.span())),
                      .learning_rate = result.learning_rate,
                      .gradient_scale = clip_scale(result.gradient_norm, options_.clip_norm),
                      .step = static_cast<std::int64_t>(position_.step) + 1});
    ATOLL_TRY(ranks_.all_gather(parameters_.span(), parts_));
    ops_.weights_changed();
    ++position_.step;
    return result;
}

Status Trainer::add_validation_losses(std::uint64_t count, double& sum) {
    for (std::uint64_t i = 0; i < count; ++i) {
        ATOLL_TRY(data_.held_out(i, batch_));
        ATOLL_TRY(check_tokens());
        sum += transformer_.forward(parameters_.span(), batch_);
    }
    return {};
}

Result<double> Trainer::validation_loss_together() {
    const auto count = std::min(data_.held_out_count(batch_.batch, batch_.sequence),
                                static_cast<std::uint64_t>(options_.held_out_batches_max));
    if (count == 0) return std::numeric_limits<double>::quiet_NaN();
    double sum = 0;
    ATOLL_TRY(ranks_.agree(add_validation_losses(count, sum)));
    ATOLL_TRY(ranks_.sum({&sum, 1}));
    return sum / static_cast<double>(count) / ranks_.size();
}

}  // namespace Atoll::model

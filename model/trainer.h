// One replica: transformer, parameters, gradients, inner optimizer, schedule and data. What federation wraps
// as a Worker and what `atoll train` runs alone. Knows nothing of peers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/flat.h"
#include "kernels/ops.h"
#include "model/config.h"
#include "model/data/batch.h"
#include "model/objective.h"
#include "model/optim/optimizer.h"
#include "model/optim/rate_search.h"
#include "model/optim/schedule.h"
#include "model/transformer.h"

namespace Atoll::model {

struct TrainerOptions {
    ModelConfig model;
    std::uint64_t seed = 1;  // of the initial parameters
    std::string optimizer = "adamw";
    OptimizerOptions optimizer_options;
    double learning_rate = 1e-3;  // peak
    std::string schedule = "constant";
    ScheduleOptions schedule_options;
    std::optional<RateSearchOptions> rate_search;  // finds the peak rate, beginning with learning_rate
    double clip_norm = 1;                          // global norm; 0 = off
    std::int64_t batch_sequences = 8;              // a step, all micro-batches together
    std::int64_t sequence = 0;                     // tokens; 0 = model.context
    std::int64_t accumulation = 1;                 // micro-batches a step; divides batch_sequences
    double z_loss = 0;
    kernels::Precision precision = kernels::Precision::fp32;
    Keep keep = Keep::everything;
    std::int64_t held_out_batches_max = 16;  // of a micro-batch's size each
};

struct TrainStep {
    double loss = 0;  // mean over the step's tokens, nats (with the z-loss, if any)
    std::uint64_t tokens = 0;
    double gradient_norm = 0;  // before clipping; of forward-only optimizers the size of the slope
    double learning_rate = 0;
};

class Trainer : public Objective {
  public:
    // `ops` and `data` outlive the trainer. Errors (invalid): a wrong option, named.
    [[nodiscard]] static Result<std::unique_ptr<Trainer>> make(kernels::Ops& ops, BatchSource& data,
                                                               const TrainerOptions& options);

    [[nodiscard]] const ModelConfig& config() const { return options_.model; }
    [[nodiscard]] const kernels::Layout& layout() const { return transformer_.layout(); }
    // The live parameters. Whoever writes them calls parameters_changed() afterwards.
    [[nodiscard]] std::span<float> parameters() { return parameters_.span(); }
    void parameters_changed() {
        ops_.weights_changed();
        if (optimizer_) optimizer_->parameters_replaced();
        if (search_) search_->merged();
    }

    // One step of the optimizer on the next `accumulation` micro-batches. Errors: data unreadable, a token
    // outside the vocabulary, loss or gradient not finite (then the parameters are as before the step). The
    // last step of a failed trial of the rate search ends with a roll-back: step() is then as before the
    // trial.
    [[nodiscard]] Result<TrainStep> inner_step();
    // In a trial of the rate search: there is nothing to save until it ends, or is dropped by going back to
    // its beginning (false: there was none).
    [[nodiscard]] bool in_trial() const { return search_ && search_->in_trial(); }
    bool drop_trial();
    // The mean gradient of the next micro-batches, neither clipped nor followed by a step. Errors besides
    // those of a step (invalid): the optimizer is forward-only, so nothing is there to compute one with.
    [[nodiscard]] Result<TrainStep> gradient(std::span<float> gradient);
    // Of `accumulation` micro-batches (without the z-loss), and for whatever the parameters are at the time.
    [[nodiscard]] Result<BatchLoss> loss(Draw draw) override;
    void add_normals(std::span<const kernels::NormalTerm> terms) override;
    // Mean loss over the same held-out batches every time; NaN if there are none.
    [[nodiscard]] Result<double> validation_loss();

    // An optimizer as this replica's, for parameters of another layout: a shard of them. It may step while
    // this trainer computes (with one thread). Errors: as make().
    [[nodiscard]] Result<std::unique_ptr<Optimizer>> make_optimizer(const kernels::Layout& layout);
    // Of the next step.
    [[nodiscard]] double learning_rate() const;
    // The steps are taken elsewhere: frees the optimizer and its state. inner_step() must not be called any
    // more.
    void release_optimizer() { optimizer_.reset(); }

    // Steps taken since the run began, over restarts.
    [[nodiscard]] std::uint64_t step() const { return position_.step; }

    // Everything beside parameters() that a checkpoint holds: with parameters restored (then
    // parameters_changed()), and then optimizer_state() and position, training continues bit for bit.
    struct Position {
        std::uint64_t step = 0;
        std::uint64_t data = 0;  // BatchSource::position()
    };
    [[nodiscard]] std::vector<StateVector> optimizer_state();
    [[nodiscard]] std::size_t optimizer_state_bytes();
    [[nodiscard]] Position position() const { return {position_.step, data_.position()}; }
    void seek(const Position& position);

  private:
    Trainer(kernels::Ops& ops, BatchSource& data, const TrainerOptions& options,
            const ScheduleEntry& schedule, bool forward_only);
    [[nodiscard]] Status check_tokens() const;
    [[nodiscard]] Result<TrainStep> gradient_at(std::span<const float> parameters, std::span<float> gradient);
    [[nodiscard]] Status estimate_curvature();
    [[nodiscard]] Result<TrainStep> take_step();
    void remember();
    void roll_back();
    [[nodiscard]] double gradient_norm(std::span<const float> gradient);
    [[nodiscard]] Result<TrainStep> forward_step();

    kernels::Ops& ops_;
    BatchSource& data_;
    TrainerOptions options_;
    const ScheduleEntry& schedule_;
    bool forward_only_;
    Transformer transformer_;
    std::vector<TensorScale> scales_;
    kernels::FlatBuffer parameters_;
    kernels::FlatBuffer gradients_;  // none if forward-only
    kernels::FlatBuffer curvature_;  // only where the optimizer wants it
    std::unique_ptr<Optimizer> optimizer_;
    std::unique_ptr<kernels::Ops> shard_ops_;  // of make_optimizer()
    TokenBatch batch_;
    Position position_;
    std::uint64_t drawn_at_ = 0;  // data position of the batch that loss() drew last
    std::optional<RateSearch> search_;
    // What a trial goes back to: parameters and state(), side by side.
    struct Snapshot {
        kernels::FlatBuffer parameters;
        std::vector<std::vector<float>> state;
        Position position;
    } snapshot_;
};

}  // namespace Atoll::model

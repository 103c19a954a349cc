// One replica: transformer, parameters, gradients, inner optimizer, schedule and data. What federation wraps
// as a Worker and what `atoll train` runs alone. Knows nothing of peers.
//
// Several ranks may be one replica (docs/explanation/islands.md): each computes the gradient of its part of
// the batch and keeps its part of the optimizer's state; all hold all parameters. Rank 0's trainer is used as
// if it was alone, and tells the others what to do with it: they are in follow(). What it tells is in
// model/island/orders.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/collective/collective.h"
#include "kernels/flat.h"
#include "kernels/ops.h"
#include "model/config.h"
#include "model/data/batch.h"
#include "model/island/rank_part.h"
#include "model/island/shared_state.h"
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
    // `ops`, `data` and `ranks` (nullptr: this one alone) outlive the trainer; `options` are those of the
    // whole replica. Errors (invalid): a wrong option, named.
    [[nodiscard]] static Result<std::unique_ptr<Trainer>> make(kernels::Ops& ops, BatchSource& data,
                                                               const TrainerOptions& options,
                                                               kernels::Collective* ranks = nullptr);
    // At rank 0 of several: sends the others home.
    ~Trainer() override;

    // At the other ranks, all there is to do: what rank 0 tells, until it sends them home. Errors: those that
    // rank 0 has too, or it is gone.
    [[nodiscard]] Status follow();

    [[nodiscard]] const ModelConfig& config() const { return options_.model; }
    [[nodiscard]] const kernels::Layout& layout() const { return transformer_.layout(); }
    // The live parameters. Whoever writes them calls parameters_changed() afterwards.
    [[nodiscard]] std::span<float> parameters() { return parameters_.span(); }
    void parameters_changed();

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
    void release_optimizer();

    // Steps taken since the run began, over restarts.
    [[nodiscard]] std::uint64_t step() const { return position_.step; }

    // Everything beside parameters() that a checkpoint holds: with parameters restored (then
    // parameters_changed()), and then optimizer_state() and position, training continues bit for bit.
    struct Position {
        std::uint64_t step = 0;
        std::uint64_t data = 0;  // BatchSource::position()
    };
    [[nodiscard]] std::vector<StateVector> optimizer_state();  // of several ranks: this one's part
    [[nodiscard]] std::size_t optimizer_state_bytes();
    // That of all ranks, at rank 0, until the next step; what is written there takes effect with
    // scatter_state().
    [[nodiscard]] Result<std::vector<StateVector>> gather_state();
    [[nodiscard]] Status scatter_state();
    [[nodiscard]] Position position() const { return {position_.step, data_.position()}; }
    void seek(const Position& position);

  private:
    class Own;
    enum class Order : std::uint8_t;

    Trainer(kernels::Ops& ops, BatchSource& data, const TrainerOptions& options,
            const ScheduleEntry& schedule, const OptimizerEntry& optimizer, kernels::Collective* ranks);
    [[nodiscard]] Status tell(Order order, ByteView what = {});
    [[nodiscard]] Result<bool> obey(ByteView order, kernels::FlatBuffer& gradient);
    // What the public operations of the same names do, here and at the other ranks at once.
    [[nodiscard]] Result<TrainStep> inner_step_together();
    [[nodiscard]] Result<TrainStep> gradient_together(std::span<float> gradient);
    [[nodiscard]] Result<BatchLoss> loss_together(Draw draw);
    [[nodiscard]] Result<double> validation_loss_together();
    [[nodiscard]] Status parameters_changed_together();
    void add_normals_here(std::span<const kernels::NormalTerm> terms);
    void seek_here(const Position& position);
    bool drop_trial_here();

    // The part of a flat vector that this rank's optimizer steps.
    template <typename T>
    [[nodiscard]] std::span<T> own(std::span<T> vector) const {
        return parts_.of(ranks_.rank(), vector);
    }
    [[nodiscard]] Status check_tokens() const;
    [[nodiscard]] Status add_gradients(std::span<const float> parameters, std::span<float> gradient,
                                       TrainStep& result);
    [[nodiscard]] Status add_losses(BatchLoss& result);
    [[nodiscard]] Status add_curvature();
    [[nodiscard]] Status add_validation_losses(std::uint64_t count, double& sum);
    [[nodiscard]] Result<std::span<const float>> gradient_point();
    [[nodiscard]] Result<TrainStep> gradient_at(std::span<const float> parameters, std::span<float> gradient);
    [[nodiscard]] Status estimate_curvature();
    [[nodiscard]] Result<TrainStep> take_step();
    void remember();
    void roll_back();
    [[nodiscard]] Result<double> gradient_norm(std::span<const float> gradient);
    [[nodiscard]] Result<TrainStep> forward_step();

    kernels::Ops& ops_;
    std::unique_ptr<kernels::Collective> alone_;  // if there are no other ranks
    kernels::Collective& ranks_;
    std::optional<RankPart> part_;  // of the data, if there are
    BatchSource& data_;
    TrainerOptions options_;
    const ScheduleEntry& schedule_;
    bool forward_only_;
    Transformer transformer_;
    std::vector<TensorScale> scales_;
    kernels::Parts parts_;  // which rank steps what
    kernels::FlatBuffer parameters_;
    kernels::FlatBuffer gradients_;  // none if forward-only
    kernels::FlatBuffer curvature_;  // only where the optimizer wants it
    kernels::FlatBuffer point_;      // only where ranks' optimizers have gradient points of their own
    std::unique_ptr<Optimizer> optimizer_;
    std::unique_ptr<kernels::Ops> shard_ops_;  // of make_optimizer()
    SharedState shared_state_;
    Status lost_;  // an order that was not heard, where its operation could not say so
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

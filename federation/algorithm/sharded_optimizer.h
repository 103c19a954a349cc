// The run's inner optimizer, its state sharded among the members (ZeRO stage 1, Rajbhandari et al. 2020):
// each steps the shards that it owns on the mean gradient, and everybody gets the new parameters.
//
// A step is taken beside the state and becomes final with commit(): an attempt that fails, or a provisional
// step (ACCO), leaves no trace. When the group changes, what a member keeps of its shards keeps its state;
// shards that are new to it start with none, and with bias corrections of their own age, as at the beginning
// of the run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "federation/algorithm/algorithm.h"
#include "federation/run_config.h"
#include "gossip/averaging/owner_step.h"
#include "kernels/flat.h"

namespace Atoll::federation {

class ShardedOptimizer final : public gossip::OwnerStep {
  public:
    // `rounds`: of exchanges that carry its steps, in the whole run.
    ShardedOptimizer(const RunConfig& config, std::size_t parameters, std::uint64_t rounds);

    // What the next step starts from and how far it goes. `parameters` outlive the exchange and do not change
    // during it; empty: this member does not have them.
    struct Start {
        std::span<const float> parameters;
        std::uint32_t weight = 0;  // of the own gradient: batches, or tokens
        double learning_rate = 0;
        std::uint64_t step = 0;  // steps committed before this one
    };
    void start(Worker& worker, const Start& start);
    // The step taken in the exchange that has just been committed is final.
    void commit();

    // "shard.<begin>.<end>.<birth>.<vector>" (own): of the optimizer's state, with the step at which it
    // began.
    void append_to(std::vector<StateVector>& state);
    [[nodiscard]] bool reserve(std::string_view name);

    [[nodiscard]] std::uint32_t weight() const override { return start_.weight; }
    [[nodiscard]] bool may_own() const override { return !start_.parameters.empty(); }
    [[nodiscard]] std::uint64_t rounds() const override { return rounds_; }
    [[nodiscard]] const gossip::Codec& outcome_codec() const override { return *exact_; }
    [[nodiscard]] double outcome_norm() const override { return norm_; }
    [[nodiscard]] bool needs_total() const override { return clip_norm_ > 0; }
    void begin(std::span<const Run> runs, const Group& group) override;
    [[nodiscard]] double measure(std::span<const float> mean) override;
    void finish(std::span<float> mean, double total) override;

  private:
    struct Named {
        std::string name;
        kernels::FlatBuffer values;
    };
    // State of a run of parameters, kept since step `birth`.
    struct Shard {
        Run run;
        std::uint64_t birth = 0;
        std::vector<Named> vectors;
    };
    // A shard at work: the same, stepped.
    struct Work {
        Run run;
        std::uint64_t birth = 0;
        std::unique_ptr<model::Optimizer> optimizer;
    };
    [[nodiscard]] bool at_work_on(std::span<const Run> runs) const;
    void cut(Run run);
    void add_work(Run run, const Shard* kept);

    std::size_t parameters_;
    std::uint64_t rounds_;
    double clip_norm_;
    std::unique_ptr<gossip::Codec> exact_;
    Worker* worker_ = nullptr;
    Start start_;
    double norm_ = 0;  // of start_.parameters
    std::vector<Run> runs_;
    std::vector<Shard> kept_;  // in order
    std::vector<Work> work_;   // of runs_, in order
    kernels::FlatBuffer stepped_;
};

// The layout of `run` of the flat vector, whose ends are multiples of kernels::Layout::kSlotAlignment (but
// for the very end): a matrix cut short stays a matrix, so that it decays.
[[nodiscard]] kernels::Layout shard_layout(const kernels::Layout& layout, gossip::OwnerStep::Run run);

}  // namespace Atoll::federation

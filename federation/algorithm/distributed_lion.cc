// Distributed Lion (Liu et al. 2024, arXiv 2404.00438): Lion's step is a sign, so a member's part in a step
// is one bit a parameter.
//
//   d_i = sign(beta1 m_i + (1 - beta1) g_i),   m_i <- beta2 m_i + (1 - beta2) g_i       every member i
//   D   = sign(sum_i d_i)   (majority vote)   or   sum_i d_i / N   (average)            the owner of each
//   shard x  <- x - rate (D + weight_decay x)                                                 everybody
//
// The paper has a server; here every member owns a shard, gets the votes on it from all and sends all what
// became of them. Momenta stay at home. signum in lion's place makes it signSGD with majority vote (Bernstein
// et al. 2019).
//
// Zero. One bit cannot say it, and calling it -1, as is done elsewhere, lets rows that no batch touches
// drift. An own sign of zero, and a majority that is tied (algorithm.ties = alternate), count as +1 and -1 in
// turn, by the parity of step plus index: on every member alike, and after two steps as if nothing had been.
// With ties = zero a tied majority is 0, for 1.6 bits down.
//
// The members' parameters are the same bits as long as each knows every D. To one who missed some, or is new,
// the owners of the next step send the stepped parameters, in fp32, in place of D
// (OwnerStep::Group::followers).
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/check.h"
#include "federation/algorithm/checks.h"
#include "federation/algorithm/entries.h"
#include "federation/algorithm/gossip_training.h"
#include "federation/algorithm/steps.h"
#include "federation/algorithm/synchronous_training.h"
#include "gossip/codec/votes.h"

namespace Atoll::federation {

namespace {

// +1 or -1 in turn.
float alternating(std::uint64_t step, std::size_t index) { return (step + index) % 2 == 0 ? 1.0F : -1.0F; }

// What the owners make of the votes.
class Vote final : public gossip::OwnerStep {
  public:
    Vote(const RunConfig::AlgorithmTable& options, std::uint64_t rounds)
        : majority_(options.vote == "majority"),
          ties_alternate_(options.ties == "alternate"),
          rounds_(rounds) {
        auto exact = gossip::make_codec("none", {});
        ATOLL_CHECK(exact.ok());
        exact_ = std::move(*exact);
    }

    // The parameters, and their step once D is known.
    using Descend =
        std::function<void(std::span<float> parameters, std::size_t begin, std::span<const float> d)>;
    void start(std::span<const float> parameters, std::uint64_t step, Descend descend) {
        parameters_ = parameters;
        step_ = step;
        descend_ = std::move(descend);
    }
    // Whether the outcome is the stepped parameters, not D.
    [[nodiscard]] bool sends_parameters() const { return sends_parameters_; }

    std::uint32_t weight() const override { return 1; }
    bool may_own() const override { return true; }
    std::uint64_t rounds() const override { return rounds_; }
    const gossip::Codec& outcome_codec() const override { return sends_parameters_ ? *exact_ : *votes_; }
    double outcome_norm() const override {
        return sends_parameters_ ? norm(parameters_) : std::sqrt(static_cast<double>(parameters_.size()));
    }
    bool needs_total() const override { return false; }
    void begin(std::span<const Run> runs, const Group& group) override {
        runs_.assign(runs.begin(), runs.end());
        sends_parameters_ = group.followers;
        if (!majority_) {
            votes_ = gossip::make_vote_counts(group.contributors);
        } else if (!votes_) {
            votes_ = ties_alternate_ ? gossip::make_sign_votes() : gossip::make_ternary_votes();
        }
    }
    double measure(std::span<const float>) override { return 0; }
    void finish(std::span<float> mean, double) override {
        for (const Run& run : runs_) {
            const std::span<float> d = mean.subspan(run.begin, run.end - run.begin);
            if (majority_) count(run.begin, d);
            if (!sends_parameters_) continue;
            std::vector<float> stepped(parameters_.begin() + static_cast<std::ptrdiff_t>(run.begin),
                                       parameters_.begin() + static_cast<std::ptrdiff_t>(run.end));
            descend_(stepped, run.begin, d);
            std::ranges::copy(stepped, d.begin());
        }
    }

  private:
    // The mean of the votes is a multiple of 1 / members, but for rounding.
    void count(std::size_t begin, std::span<float> d) const {
        constexpr float kTie = 1e-5F;  // less than 1 / 1024 members
        for (std::size_t i = 0; i < d.size(); ++i) {
            if (std::abs(d[i]) < kTie) {
                d[i] = ties_alternate_ ? alternating(step_, begin + i) : 0.0F;
            } else {
                d[i] = d[i] > 0 ? 1.0F : -1.0F;
            }
        }
    }

    bool majority_;
    bool ties_alternate_;
    std::uint64_t rounds_;
    std::unique_ptr<gossip::Codec> exact_;
    std::unique_ptr<gossip::Codec> votes_;
    std::span<const float> parameters_;
    std::uint64_t step_ = 0;
    Descend descend_;
    std::vector<Run> runs_;
    bool sends_parameters_ = false;
};

class DistributedLion final : public SynchronousTraining {
  public:
    DistributedLion(const RunConfig& config, std::size_t parameters)
        : SynchronousTraining(config, parameters),
          weight_decay_(config.optimizer.weight_decay),
          gradient_(config, parameters),
          momentum_(parameters),
          votes_(parameters),
          vote_(config.algorithm, exchanges()) {}

    // Beside SynchronousTraining's: "momentum" (own).
    std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = SynchronousTraining::state();
        vectors.push_back({"momentum", lion_ ? lion_->state().front().values : momentum_.span(), false});
        return vectors;
    }
    bool reserve(std::string_view name) override {
        return name == "momentum" || SynchronousTraining::reserve(name);
    }

  private:
    Result<StepResult> step(Context& context, RoundReport& report) override {
        Worker& worker = context.worker;
        const std::uint64_t at = worker.step();
        ATOLL_ASSIGN(const StepResult result, gradient_.take_gradient(worker));
        ATOLL_TRY(cast_votes(worker));
        vote_.start(worker.parameters(), at,
                    [&](std::span<float> x, std::size_t begin, std::span<const float> d) {
                        descend(worker, x, begin, d, result.learning_rate);
                    });

        const double start = context.host.now();
        ATOLL_ASSIGN(auto exchanged, average(context, at, votes_.span()));
        ATOLL_ASSIGN(const auto stepped, settle(context, at, votes_.span(), std::move(exchanged), report));
        report.exchange_seconds += context.host.now() - start;

        if (!stepped) return result;
        if (vote_.sends_parameters()) {
            std::ranges::copy(votes_.span(), worker.parameters().begin());
        } else {
            ATOLL_CHECK(*stepped == at);
            descend(worker, worker.parameters(), 0, votes_.span(), result.learning_rate);
        }
        worker.parameters_changed();
        worker.set_step(*stepped + 1);
        return result;
    }

    // The run's optimizer, which only ever adds a sign, does it to zeros at a rate of one: -d_i, and its
    // momentum.
    Status cast_votes(Worker& worker) {
        if (!lion_) {
            ATOLL_ASSIGN(lion_, worker.make_optimizer(worker.layout()));
            ATOLL_CHECK(lion_->state().size() == 1);
            std::ranges::copy(momentum_.span(), lion_->state().front().values.begin());
            momentum_ = kernels::FlatBuffer();
        }
        const std::uint64_t at = worker.step();
        std::ranges::fill(votes_.span(), 0.0F);
        lion_->step({.parameters = votes_.span(),
                     .gradients = gradient_.gradient(),
                     .learning_rate = 1,
                     .step = static_cast<std::int64_t>(at) + 1});
        for (std::size_t i = 0; i < votes_.size(); ++i) {
            float& vote = votes_.data()[i];
            vote = vote == 0 ? alternating(at, i) : -vote;
        }
        return {};
    }

    // x, which begins at `begin` of the parameters, makes the step D. One expression for owners and others:
    // they must get the same bits.
    void descend(Worker& worker, std::span<float> x, std::size_t begin, std::span<const float> d,
                 double learning_rate) const {
        const auto kept = static_cast<float>(1 - learning_rate * weight_decay_);
        for (const model::DecayRange& range : model::decay_ranges(worker.layout())) {
            if (!range.decays || kept == 1) continue;
            const std::size_t first = std::max(range.offset, begin);
            const std::size_t end = std::min(range.offset + range.size, begin + x.size());
            for (std::size_t i = first; i < end; ++i) x[i - begin] *= kept;
        }
        const auto rate = static_cast<float>(learning_rate);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] -= rate * d[i];
    }

    gossip::OwnerStep& owner_step() override { return vote_; }
    const gossip::Codec& contribution_codec(const Context&) override { return *up_; }

    double weight_decay_;
    OwnStep gradient_;
    kernels::FlatBuffer momentum_;  // until lion_ has it
    std::unique_ptr<model::Optimizer> lion_;
    kernels::FlatBuffer votes_;  // d_i, then D
    std::unique_ptr<gossip::Codec> up_ = gossip::make_sign_votes();
    Vote vote_;
};

}  // namespace

std::unique_ptr<Algorithm> make_distributed_lion(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<DistributedLion>(config, parameters);
}

Status check_distributed_lion(const RunConfig& config) {
    ATOLL_TRY(check_owners(config));
    if (config.optimizer.name != "lion" && config.optimizer.name != "signum") {
        return Error{
            ErrorCode::invalid,
            fmt::format("optimizer.name = {} but algorithm.name = {} votes with signs: expected lion, or "
                        "signum",
                        config.optimizer.name, config.algorithm.name)};
    }
    const RunConfig::CodecTable defaults;
    if (config.codec.name != defaults.name && config.codec.name != "none") {
        return Error{
            ErrorCode::invalid,
            fmt::format("codec.name = {} but algorithm.name = {} has codecs of its own: leave it out",
                        config.codec.name, config.algorithm.name)};
    }
    if (config.algorithm.vote == "average" && config.algorithm.ties == "zero") {
        return Error{
            ErrorCode::invalid,
            "algorithm.ties = zero but algorithm.vote = average, where nothing is tied: leave it out, or "
            "choose majority"};
    }
    return check_no_outer_step(config);
}

}  // namespace Atoll::federation

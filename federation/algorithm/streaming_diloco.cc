// Streaming DiLoCo (Douillard et al. 2025, arXiv 2501.18512, algorithm 2): DiLoCo in P fragments, each
// exchanged at a time of its own, while inner steps go on.
//
//   at inner step s(e) = H + floor(e H / P), for e = 0, 1, 2, ...; fragment p = e mod P:
//       Delta_p = Theta_p - theta_p;  start to average it over the members
//   tau inner steps later:
//       Theta_p <- OuterOpt(Theta_p, mean Delta_p)
//       theta_p <- alpha theta_p + (1 - alpha) Theta_p
//
// So a fragment is exchanged once every H steps, and every H / P steps one of them. A round here is the outer
// step of one fragment. P = 1, tau = 0, alpha = 0 is DiLoCo, to the bit. The replica ends with Theta.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/check.h"
#include "federation/algorithm/diloco.h"
#include "federation/algorithm/entries.h"
#include "federation/algorithm/steps.h"
#include "federation/fragments.h"
#include "federation/shared_state.h"

namespace Atoll::federation {

namespace {

class StreamingDiloco final : public Algorithm {
  public:
    StreamingDiloco(const RunConfig& config, std::size_t parameters)
        : run_(config.run),
          options_(config.algorithm),
          fragment_count_(fragment_count(config)),
          outer_(make_outer(config, parameters)),
          anchor_(parameters),
          delta_(parameters),
          residuals_(config.codec, parameters) {
        auto exact = gossip::make_codec("none", {});
        ATOLL_CHECK(exact.ok());
        exact_ = std::move(*exact);
        slice_ = kernels::FlatBuffer(anchor_slice().size());
    }

    Status run(Context& context) override {
        Worker& worker = context.worker;
        fragments_ = make_fragments(worker.layout(), fragment_count_, options_.fragment_pattern == "strided");
        ATOLL_TRY(begin(context));
        publish_state(context.host, *this);
        while (round_ < rounds()) {
            RoundReport report;
            ATOLL_TRY(take_inner_steps(context, round_, exchange_step(round_), report));
            if (phase_ == kIdle) ATOLL_TRY(take_difference(worker));
            ATOLL_TRY(average(context, report));  // and tau inner steps meanwhile

            for (const FragmentRange& range : fragment()) {
                outer_->step_range(range.offset, part(anchor_, range), part(delta_, range));
            }
            mix(worker);
            phase_ = kIdle;
            ++round_;
            if (round_ == rounds()) restart_from_anchor(worker);
            ATOLL_TRY(end_round(context, *this, report));
        }
        return {};
    }

    std::uint64_t round() const override { return round_; }
    // The last exchange is that of fragment 0 at the last inner step, H times run.rounds.
    std::uint64_t rounds() const override {
        return static_cast<std::uint64_t>(run_.rounds - 1) * fragment_count_ + 1;
    }
    void set_round(std::uint64_t round) override { round_ = round; }

    // "anchor" and "outer.*" (shared); "residual.<stage>" (own); with an overlap "in_flight" and "phase"
    // (own): the update that is being exchanged when the node stops.
    std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = {{"anchor", anchor_.span(), true}};
        for (const auto& part : outer_->state()) vectors.push_back({"outer." + part.name, part.values, true});
        if (options_.overlap_steps > 0) {
            vectors.push_back({"in_flight", delta_.span(), false});
            vectors.push_back({"phase", {&phase_, 1}, false});
        }
        residuals_.append_to(vectors);
        return vectors;
    }
    bool reserve(std::string_view name) override {
        if (residuals_.reserve(name)) return true;
        const auto vectors = state();
        return std::ranges::any_of(vectors, [&](const StateVector& vector) { return vector.name == name; });
    }
    void adopted(Worker& worker) override {
        worker.set_step(round_ == 0 ? 0 : applied_step(round_ - 1));
        residuals_.forget();
        phase_ = kIdle;
        restart_from_anchor(worker);
    }

  private:
    // Of the exchange of round_; a float, as everything in a checkpoint.
    static constexpr float kIdle = 0;
    static constexpr float kUnderWay = 1;
    static constexpr float kAveraged = 2;

    // Inner steps done when exchange `e` starts, and when its outer step is due.
    std::uint64_t exchange_step(std::uint64_t e) const {
        const auto steps = static_cast<std::uint64_t>(options_.inner_steps);
        return steps + e * steps / fragment_count_;
    }
    std::uint64_t applied_step(std::uint64_t e) const {
        const auto last = static_cast<std::uint64_t>(run_.rounds * options_.inner_steps);
        return std::min(exchange_step(e) + static_cast<std::uint64_t>(options_.overlap_steps), last);
    }
    const Fragment& fragment() const { return fragments_[round_ % fragment_count_]; }
    static std::span<float> part(kernels::FlatBuffer& vector, const FragmentRange& range) {
        return vector.span().subspan(range.offset, range.size);
    }
    // As in DiLoCo; so many more slices that their bytes do not grow with P.
    std::span<float> anchor_slice() {
        return slice_of(anchor_.span(), round_,
                        static_cast<std::size_t>(options_.anchor_slices) * fragment_count_);
    }

    Status begin(Context& context) {
        Worker& worker = context.worker;
        if (round_ == 0 && worker.step() == 0) {
            std::ranges::copy(worker.parameters(), anchor_.span().begin());
            return wait_for_members(context, static_cast<std::size_t>(run_.members_min));
        }
        const std::uint64_t first = round_ == 0 ? 0 : applied_step(round_ - 1);
        if (worker.step() >= first && worker.step() <= applied_step(round_)) return {};
        return Error{ErrorCode::corrupt,
                     fmt::format("restored state does not fit together: step {} is not in round {} (steps {} "
                                 "to {}); start from another checkpoint",
                                 worker.step(), round_, first, applied_step(round_))};
    }

    Status take_difference(Worker& worker) {
        const std::span<const float> theta = worker.parameters();
        for (const FragmentRange& range : fragment()) {
            for (std::size_t i = range.offset; i < range.offset + range.size; ++i)
                delta_.data()[i] = anchor_.data()[i] - theta[i];
            ATOLL_TRY(check_finite(part(delta_, range), worker.step()));
        }
        phase_ = kUnderWay;
        return {};
    }

    Status average(Context& context, RoundReport& report) {
        if (options_.overlap_steps == 0) {
            outcome_ = exchange(context);
        } else {
            std::unique_ptr<gossip::Activity> activity;
            if (phase_ == kUnderWay) {
                activity = context.host.spawn("exchange", [&] { outcome_ = exchange(context); });
            }
            const Status trained = take_inner_steps(context, round_, applied_step(round_), report);
            const double start = context.host.now();
            // Whatever becomes of this run, nobody else may touch the vectors before.
            if (activity) activity->join();
            report.exchange_seconds = context.host.now() - start;
            if (phase_ == kUnderWay && outcome_->ok()) phase_ = kAveraged;
            ATOLL_TRY(trained);
        }
        // A member that was stopped in between has averaged, but its report is gone.
        if (!outcome_) outcome_ = gossip::AverageReport{};
        ATOLL_ASSIGN(report.average, *std::exchange(outcome_, {}));
        if (options_.overlap_steps == 0) report.exchange_seconds = report.average.seconds;
        double squares = 0;
        for (const FragmentRange& range : fragment()) squares += std::pow(norm(part(delta_, range)), 2);
        report.update_norm = std::sqrt(squares);
        return {};
    }

    // On an activity of its own if there is an overlap: touches delta_, anchor_ and residuals_, which the
    // inner steps do not.
    Result<gossip::AverageReport> exchange(Context& context) {
        context.inbox.absorb();  // the number of stages follows from the newest view
        const auto residuals =
            residuals_.next(context.codec, context.averaging.stages(context.inbox.view()), fragment());
        // What comes late is of another fragment, or of this one H steps ago.
        const bool rotates = fragment_count_ > 1;
        std::vector<gossip::AveragePart> parts;
        for (const FragmentRange& range : fragment()) {
            parts.push_back({.values = part(delta_, range), .codec = &context.codec, .rotates = rotates});
            for (const auto& stage : residuals)
                parts.back().residuals.push_back(stage.subspan(range.offset, range.size));
        }
        const std::span<float> anchor = anchor_slice();
        const std::span<float> slice = slice_.span().first(anchor.size());
        std::ranges::copy(anchor, slice.begin());
        if (!slice.empty()) parts.push_back({.values = slice, .codec = exact_.get(), .rotates = true});
        auto averaged = context.averaging.average(round_, parts);
        if (averaged) std::ranges::copy(slice, anchor.begin());
        return averaged;
    }

    void mix(Worker& worker) {
        const auto alpha = static_cast<float>(options_.mixing);
        const std::span<float> theta = worker.parameters();
        for (const FragmentRange& range : fragment()) {
            for (std::size_t i = range.offset; i < range.offset + range.size; ++i)
                theta[i] =
                    alpha == 0 ? anchor_.data()[i] : alpha * theta[i] + (1 - alpha) * anchor_.data()[i];
        }
        worker.parameters_changed();
    }

    void restart_from_anchor(Worker& worker) {
        std::ranges::copy(anchor_.span(), worker.parameters().begin());
        worker.parameters_changed();
    }

    RunConfig::Run run_;
    RunConfig::AlgorithmTable options_;
    std::uint64_t fragment_count_;  // P
    std::vector<Fragment> fragments_;
    std::unique_ptr<OuterOptimizer> outer_;
    std::unique_ptr<gossip::Codec> exact_;  // of the anchors' slices
    std::uint64_t round_ = 0;
    float phase_ = kIdle;
    kernels::FlatBuffer anchor_;  // Theta
    kernels::FlatBuffer delta_;   // Delta_p of the fragment in flight, then its mean
    kernels::FlatBuffer slice_;
    Residuals residuals_;
    std::optional<Result<gossip::AverageReport>> outcome_;  // of the exchange under way
};

}  // namespace

std::unique_ptr<Algorithm> make_streaming_diloco(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<StreamingDiloco>(config, parameters);
}

Status check_streaming_diloco(const RunConfig& config) {
    ATOLL_TRY(check_fragments(config));
    const auto& options = config.algorithm;
    const auto fragments = static_cast<std::int64_t>(fragment_count(config));
    const std::int64_t steps = options.inner_steps / fragments;
    if (options.overlap_steps < steps) return {};
    return Error{
        ErrorCode::invalid,
        fmt::format("algorithm.overlap_steps = {} but algorithm.inner_steps = {} and {} fragments "
                    "(algorithm.fragments = {}): expected fewer than {} steps, those from one "
                    "exchange to the next",
                    options.overlap_steps, options.inner_steps, fragments, options.fragments, steps)};
}

}  // namespace Atoll::federation

#include "federation/algorithm/sharded_optimizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "federation/algorithm/steps.h"
#include "model/optim/schedule.h"

namespace Atoll::federation {

kernels::Layout shard_layout(const kernels::Layout& layout, gossip::OwnerStep::Run run) {
    kernels::Layout shard;
    for (const kernels::TensorSlot& slot : layout.slots()) {
        const std::size_t begin = std::max(slot.offset, run.begin);
        const std::size_t end = std::min(slot.offset + slot.size, run.end);
        if (begin >= end) continue;
        std::vector<std::int64_t> shape = {static_cast<std::int64_t>(end - begin)};
        if (slot.shape.size() >= 2) shape.insert(shape.begin(), 1);
        shard.add(slot.name, std::move(shape));
    }
    ATOLL_CHECK(shard.size() == run.end - run.begin);
    return shard;
}

ShardedOptimizer::ShardedOptimizer(const RunConfig& config, std::size_t parameters, std::uint64_t rounds)
    : parameters_(parameters), rounds_(rounds), clip_norm_(config.optimizer.clip_norm) {
    auto exact = gossip::make_codec("none", {});
    ATOLL_CHECK(exact.ok());
    exact_ = std::move(*exact);
}

void ShardedOptimizer::start(Worker& worker, const Start& start) {
    worker_ = &worker;
    start_ = start;
    norm_ = norm(start.parameters);
}

// ---- shards of a changing group ----

void ShardedOptimizer::begin(std::span<const Run> runs, const Group&) {
    if (!at_work_on(runs)) {
        runs_.assign(runs.begin(), runs.end());
        work_.clear();
        std::size_t longest = 0;
        for (const Run& run : runs) {
            cut(run);
            longest = std::max(longest, run.end - run.begin);
        }
        if (stepped_.size() < longest) stepped_ = kernels::FlatBuffer(longest);
        return;
    }
    for (std::size_t i = 0; i < work_.size(); ++i) {
        const auto state = work_[i].optimizer->state();
        for (std::size_t v = 0; v < state.size(); ++v)
            std::ranges::copy(kept_[i].vectors[v].values.span(), state[v].values.begin());
    }
}

// With nothing to cut: each shard at work is one that has been kept.
bool ShardedOptimizer::at_work_on(std::span<const Run> runs) const {
    return std::ranges::equal(runs, runs_) && std::ranges::equal(kept_, work_, {}, &Shard::run, &Work::run);
}

// Into what has been kept and what is new.
void ShardedOptimizer::cut(Run run) {
    for (const Shard& shard : kept_) {
        const Run common{std::max(run.begin, shard.run.begin), std::min(run.end, shard.run.end)};
        if (common.begin >= common.end) continue;
        if (run.begin < common.begin) add_work({run.begin, common.begin}, nullptr);
        add_work(common, &shard);
        run.begin = common.end;
    }
    if (run.begin < run.end) add_work(run, nullptr);
}

void ShardedOptimizer::add_work(Run run, const Shard* kept) {
    auto optimizer = worker_->make_optimizer(shard_layout(worker_->layout(), run));
    ATOLL_CHECK(optimizer.ok());  // the run's own, which validate() has accepted
    for (const auto& vector : (*optimizer)->state()) {
        if (kept == nullptr) break;
        const auto same = std::ranges::find(kept->vectors, vector.name, &Named::name);
        if (same == kept->vectors.end()) continue;
        const auto values = same->values.span().subspan(run.begin - kept->run.begin, run.end - run.begin);
        std::ranges::copy(values, vector.values.begin());
    }
    work_.push_back({run, kept == nullptr ? start_.step : kept->birth, std::move(*optimizer)});
}

void ShardedOptimizer::commit() {
    std::vector<Shard> kept;
    for (const Work& work : work_) {
        Shard shard{work.run, work.birth, {}};
        const auto at = std::ranges::find(kept_, work.run, &Shard::run);
        if (at != kept_.end()) shard.vectors = std::move(at->vectors);
        const auto state = work.optimizer->state();
        shard.vectors.resize(state.size());
        for (std::size_t v = 0; v < state.size(); ++v) {
            Named& vector = shard.vectors[v];
            vector.name = state[v].name;
            if (vector.values.size() != state[v].values.size())
                vector.values = kernels::FlatBuffer(state[v].values.size());
            std::ranges::copy(state[v].values, vector.values.span().begin());
        }
        kept.push_back(std::move(shard));
    }
    kept_ = std::move(kept);
}

// ---- the step ----

double ShardedOptimizer::measure(std::span<const float> mean) {
    double sum = 0;
    for (const Run& run : runs_) {
        const double part = norm(mean.subspan(run.begin, run.end - run.begin));
        sum += part * part;
    }
    return sum;
}

void ShardedOptimizer::finish(std::span<float> mean, double total) {
    for (Work& work : work_) {
        const std::size_t size = work.run.end - work.run.begin;
        const std::span<float> gradient = mean.subspan(work.run.begin, size);
        const std::span<float> parameters = stepped_.span().first(size);
        std::ranges::copy(start_.parameters.subspan(work.run.begin, size), parameters.begin());
        work.optimizer->step(
            {.parameters = parameters,
             .gradients = gradient,
             .learning_rate = start_.learning_rate,
             .gradient_scale = model::clip_scale(std::sqrt(total), clip_norm_),
             .step = static_cast<std::int64_t>(start_.step - std::min(work.birth, start_.step)) + 1});
        std::ranges::copy(parameters, gradient.begin());
    }
}

// ---- checkpoints ----

void ShardedOptimizer::append_to(std::vector<StateVector>& state) {
    for (Shard& shard : kept_) {
        for (Named& vector : shard.vectors) {
            state.push_back(
                {fmt::format("shard.{}.{}.{}.{}", shard.run.begin, shard.run.end, shard.birth, vector.name),
                 vector.values.span(), false});
        }
    }
}

bool ShardedOptimizer::reserve(std::string_view name) {
    constexpr std::string_view kPrefix = "shard.";
    if (!name.starts_with(kPrefix)) return false;
    name.remove_prefix(kPrefix.size());
    std::uint64_t numbers[3] = {};
    for (std::uint64_t& number : numbers) {
        const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), number);
        if (error != std::errc() || stop == name.data() + name.size() || *stop != '.') return false;
        name.remove_prefix(static_cast<std::size_t>(stop - name.data()) + 1);
    }
    const Run run{numbers[0], numbers[1]};
    if (name.empty() || run.begin >= run.end || run.end > parameters_) return false;
    auto shard = std::ranges::find(kept_, run, &Shard::run);
    if (shard == kept_.end()) {
        const auto after =
            std::ranges::find_if(kept_, [&](const Shard& other) { return other.run.begin > run.begin; });
        shard = kept_.insert(after, Shard{run, numbers[2], {}});
    }
    if (std::ranges::find(shard->vectors, name, &Named::name) == shard->vectors.end())
        shard->vectors.push_back({std::string(name), kernels::FlatBuffer(run.end - run.begin)});
    return true;
}

}  // namespace Atoll::federation

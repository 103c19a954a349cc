// Members of a run in one process: a Session each over a MemoryNetwork, with a worker that costs virtual
// time.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "federation/session.h"
#include "tests/fakes/memory_host.h"
#include "tests/federation/quadratic_worker.h"

namespace Atoll::federation::testing {

inline RunConfig small_run() {
    RunConfig config;
    config.run.rounds = 8;
    config.algorithm.inner_steps = 5;
    config.algorithm.anchor_slices = 4;
    config.schedule.warmup_steps = 0;
    config.averaging.deadline_seconds = 2;
    config.codec.name = "none";
    config.codec.error_feedback = false;
    return config;
}

// What a member tells of its run; a test may hook in.
class Record : public Observer {
  public:
    std::vector<double> losses;
    std::vector<RoundReport> rounds;
    std::function<void(std::uint64_t step)> at_step;
    std::function<void(const RoundReport& report, Algorithm& algorithm)> at_round;
    std::function<void(Algorithm& algorithm)> at_persist;

    Status on_step(const StepResult& result, std::uint64_t step) override {
        losses.push_back(result.loss);
        if (at_step) at_step(step);
        return {};
    }
    Status persist(Algorithm& algorithm) override {
        if (at_persist) at_persist(algorithm);
        return {};
    }
    Status on_round(const RoundReport& report, Algorithm& algorithm) override {
        rounds.push_back(report);
        if (at_round) at_round(report, algorithm);
        return {};
    }
};

// A worker whose steps take virtual time on a host.
class TimedWorker : public Worker {
  public:
    TimedWorker(Worker& worker, gossip::Host& host, double step_seconds)
        : worker_(worker), host_(host), step_seconds_(step_seconds) {}
    [[nodiscard]] const kernels::Layout& layout() const override { return worker_.layout(); }
    [[nodiscard]] std::span<float> parameters() override { return worker_.parameters(); }
    void parameters_changed() override { worker_.parameters_changed(); }
    [[nodiscard]] Result<StepResult> inner_step() override {
        host_.sleep(step_seconds_);
        return worker_.inner_step();
    }
    [[nodiscard]] Result<StepResult> gradient(std::span<float> gradient) override {
        host_.sleep(step_seconds_);
        return worker_.gradient(gradient);
    }
    [[nodiscard]] Result<model::BatchLoss> loss(model::Draw draw) override {
        if (draw == model::Draw::next) host_.sleep(step_seconds_);
        return worker_.loss(draw);
    }
    void add_normals(std::span<const kernels::NormalTerm> terms) override { worker_.add_normals(terms); }
    [[nodiscard]] Result<double> validation_loss() override { return worker_.validation_loss(); }
    [[nodiscard]] Result<std::unique_ptr<model::Optimizer>> make_optimizer(
        const kernels::Layout& layout) override {
        return worker_.make_optimizer(layout);
    }
    [[nodiscard]] double learning_rate() const override { return worker_.learning_rate(); }
    void release_optimizer() override { worker_.release_optimizer(); }
    [[nodiscard]] std::uint64_t step() const override { return worker_.step(); }
    void set_step(std::uint64_t step) override { worker_.set_step(step); }

  private:
    Worker& worker_;
    gossip::Host& host_;
    double step_seconds_;
};

struct Member {
    std::unique_ptr<Worker> worker;
    double step_seconds = 0.01;
    JoinMode mode = JoinMode::first;
    SessionOptions session;
    StopToken stop;
    Record record;
    // Called with the session before it runs: restores a state.
    std::function<void(Session& session)> before;
    // Called with it after run() returned.
    std::function<void(Session& session)> after;
    std::optional<Status> status;
};

class Cluster {
  public:
    using MakeWorker = std::function<std::unique_ptr<Worker>(std::size_t index)>;

    Cluster(RunConfig config, std::size_t members, const MakeWorker& make,
            fakes::MemoryNetwork::Options options = {})
        : config_(std::move(config)), network_([&] {
              options.hosts = members;
              return options;
          }()) {
        for (std::size_t i = 0; i < members; ++i) {
            members_.push_back(std::make_unique<Member>());
            members_.back()->worker = make(i);
        }
    }

    [[nodiscard]] fakes::MemoryNetwork& network() { return network_; }
    [[nodiscard]] Member& operator[](std::size_t i) { return *members_.at(i); }
    [[nodiscard]] std::size_t size() const { return members_.size(); }
    [[nodiscard]] std::span<float> parameters(std::size_t i) { return members_.at(i)->worker->parameters(); }

    // Starts member `i` now; returns at once. When its run is over it stays `linger` seconds to serve its
    // state.
    void start(std::size_t i, double linger_seconds = 30) {
        network_.start(i, "member", [this, i, linger_seconds] {
            Member& member = *members_[i];
            gossip::Host& host = network_.host(i);
            TimedWorker worker(*member.worker, host, member.step_seconds);
            auto session = Session::make(config_, worker, host, member.session);
            if (!session) {
                member.status = session.error();
                return;
            }
            if (member.before) member.before(**session);
            member.status = (*session)->run(member.record, member.stop, member.mode);
            if (member.after) member.after(**session);
            host.sleep(linger_seconds);
            if (network_.alive(i)) network_.stop(i);
        });
    }
    // Starts everyone, tells all of all, runs to the end.
    [[nodiscard]] bool run_all() {
        for (std::size_t i = 0; i < size(); ++i) start(i);
        network_.announce_members("start");
        return network_.run();
    }

  private:
    RunConfig config_;
    fakes::MemoryNetwork network_;
    std::vector<std::unique_ptr<Member>> members_;
};

inline double distance(std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    return std::sqrt(sum);
}

}  // namespace Atoll::federation::testing

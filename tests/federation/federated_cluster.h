// Members of a federated run whose gradients are known, and a disk for each, so that they can be switched off
// at any moment and come back with what they had persisted.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/federation/member_cluster.h"
#include "tests/federation/saved_member.h"

namespace Atoll::federation::testing {

// f_i(x) = 1/2 sum_j c_ij (x_j - b_ij)^2: curvatures and minima differ from client to client.
class UnequalClient : public Worker {
  public:
    static constexpr std::size_t kDimensions = 16;

    UnequalClient(std::size_t index, double rate) : rate_(rate) {
        layout_.add("x", {static_cast<std::int64_t>(kDimensions)});
        parameters_ = kernels::FlatBuffer(layout_.size());
        gradient_ = kernels::FlatBuffer(layout_.size());
        Rng rng = Rng(5).split("client", index);
        for (std::size_t j = 0; j < kDimensions; ++j) {
            curvature_.push_back(0.1 + 0.9 * rng.uniform());
            minimum_.push_back(2 * rng.normal());
        }
    }
    [[nodiscard]] const kernels::Layout& layout() const override { return layout_; }
    [[nodiscard]] std::span<float> parameters() override { return parameters_.span(); }
    void parameters_changed() override {}
    [[nodiscard]] Result<StepResult> gradient(std::span<float> gradient) override {
        for (std::size_t j = 0; j < kDimensions; ++j) {
            gradient[j] = static_cast<float>(curvature_[j] *
                                             (static_cast<double>(parameters_.data()[j]) - minimum_[j]));
        }
        return StepResult{.tokens = 1, .learning_rate = rate_};
    }
    [[nodiscard]] Result<StepResult> inner_step() override {
        ATOLL_ASSIGN(const StepResult result, gradient(gradient_.span()));
        for (std::size_t j = 0; j < kDimensions; ++j)
            parameters_.data()[j] -= static_cast<float>(rate_) * gradient_.data()[j];
        ++step_;
        return result;
    }
    [[nodiscard]] Result<double> validation_loss() override { return 0.0; }
    [[nodiscard]] std::uint64_t step() const override { return step_; }
    void set_step(std::uint64_t step) override { step_ = step; }

    [[nodiscard]] double curvature(std::size_t j) const { return curvature_[j]; }
    [[nodiscard]] double minimum(std::size_t j) const { return minimum_[j]; }

  private:
    double rate_;
    kernels::Layout layout_;
    kernels::FlatBuffer parameters_, gradient_;
    std::vector<double> curvature_, minimum_;
    std::uint64_t step_ = 0;
};

inline RunConfig federated_run(const std::string& algorithm, std::int64_t rounds, double rate = 0.1) {
    RunConfig config = small_run();
    config.algorithm.name = algorithm;
    config.algorithm.inner_steps = 3;
    config.averaging.name = "star";
    config.optimizer.name = "sgd";
    config.optimizer.learning_rate = rate;
    config.optimizer.beta1 = 0;
    config.optimizer.weight_decay = 0;
    config.optimizer.clip_norm = 0;
    config.schedule.name = "constant";
    config.run.rounds = rounds;
    return config;
}

// A cluster whose member 0 serves.
class FederatedCluster : public Cluster {
  public:
    FederatedCluster(const RunConfig& config, std::size_t members, const MakeWorker& make,
                     fakes::MemoryNetwork::Options options = {})
        : Cluster(config, members, make, options), disks(members) {
        for (std::size_t i = 0; i < members; ++i) {
            Member& member = (*this)[i];
            member.record.at_persist = [this, i](Algorithm& algorithm) {
                if (network().alive(i)) disks[i] = SavedMember(algorithm, *(*this)[i].worker);
            };
            member.before = [this, i](Session& session) {
                if (!disks[i].empty()) disks[i].restore(session.algorithm(), *(*this)[i].worker);
            };
        }
    }
    // Switches a member off now and, after `seconds`, on again with what its disk holds.
    void restart(std::size_t i, double seconds) {
        network().kill(i);
        network().announce_members("one is off");
        network().at(network().now() + seconds, [this, i] {
            network().revive(i);
            (*this)[i].mode = JoinMode::late;
            network().announce_members("one is back");
            start(i);
        });
    }
    std::vector<SavedMember> disks;
};

}  // namespace Atoll::federation::testing

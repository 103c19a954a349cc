// Gossip training against independent recursions in double precision and the invariants of its papers:
// unequal quadratics, whose minimum is known in closed form.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "gossip/topology/topology.h"
#include "tests/federation/member_cluster.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::small_run;
using ::testing::HasSubstr;

constexpr std::size_t kMembers = 15;
constexpr std::size_t kDimensions = 20;

// loss_i(x) = 1/2 sum_j c_ij (x_j - b_ij)^2, other c and b on every member.
struct Quadratic {
    std::vector<double> curvature, minimum;

    explicit Quadratic(std::uint64_t member) {
        Rng rng = Rng(7).split("quadratic", member);
        for (std::size_t j = 0; j < kDimensions; ++j) {
            curvature.push_back(0.2 + 1.6 * rng.uniform());
            minimum.push_back(rng.normal());
        }
    }
    [[nodiscard]] double gradient(std::size_t j, double x) const { return curvature[j] * (x - minimum[j]); }
};

std::vector<Quadratic> quadratics() {
    std::vector<Quadratic> all;
    for (std::size_t i = 0; i < kMembers; ++i) all.emplace_back(i);
    return all;
}

using Vector = std::vector<double>;

Vector optimum() {
    Vector weighted(kDimensions);
    Vector total(kDimensions);
    for (const Quadratic& q : quadratics()) {
        for (std::size_t j = 0; j < kDimensions; ++j) {
            weighted[j] += q.curvature[j] * q.minimum[j];
            total[j] += q.curvature[j];
        }
    }
    for (std::size_t j = 0; j < kDimensions; ++j) weighted[j] /= total[j];
    return weighted;
}

class UnequalWorker : public Worker {
  public:
    UnequalWorker(std::uint64_t member, double rate, double momentum)
        : quadratic_(member), rate_(rate), momentum_(momentum) {
        layout_.add("x", {static_cast<std::int64_t>(kDimensions)});
        parameters_ = kernels::FlatBuffer(layout_.size());
        velocity_ = kernels::FlatBuffer(layout_.size());
        gradient_ = kernels::FlatBuffer(layout_.size());
    }
    [[nodiscard]] const kernels::Layout& layout() const override { return layout_; }
    [[nodiscard]] std::span<float> parameters() override { return parameters_.span(); }
    void parameters_changed() override {}
    [[nodiscard]] Result<StepResult> gradient(std::span<float> gradient) override {
        for (std::size_t j = 0; j < kDimensions; ++j) {
            gradient[j] = static_cast<float>(quadratic_.gradient(j, parameters_.data()[j]));
        }
        return StepResult{.tokens = 1, .learning_rate = rate_};
    }
    [[nodiscard]] Result<StepResult> inner_step() override {
        ATOLL_ASSIGN(const StepResult result, gradient(gradient_.span()));
        for (std::size_t j = 0; j < kDimensions; ++j) {
            float& u = velocity_.data()[j];
            u = static_cast<float>(momentum_) * u + gradient_.data()[j];
            parameters_.data()[j] -= static_cast<float>(rate_) * u;
        }
        ++step_;
        return result;
    }
    [[nodiscard]] Result<double> validation_loss() override { return std::nan(""); }
    [[nodiscard]] std::uint64_t step() const override { return step_; }
    void set_step(std::uint64_t step) override { step_ = step; }

  private:
    Quadratic quadratic_;
    double rate_;
    double momentum_;
    kernels::Layout layout_;
    kernels::FlatBuffer parameters_, velocity_, gradient_;
    std::uint64_t step_ = 0;
};

RunConfig gossip_run(const std::string& algorithm, const std::string& topology, double momentum,
                     std::int64_t rounds) {
    RunConfig config = small_run();
    config.algorithm.name = algorithm;
    config.algorithm.inner_steps = 1;
    config.topology.name = topology;
    config.topology.degree = 2;
    config.optimizer.name = "sgd";
    config.optimizer.beta1 = momentum;
    config.optimizer.nesterov = false;
    config.run.rounds = rounds;
    return config;
}

std::unique_ptr<Cluster> run_members(const RunConfig& config, double rate) {
    auto cluster = std::make_unique<Cluster>(config, kMembers, [&](std::size_t i) {
        return std::make_unique<UnequalWorker>(i, rate, config.optimizer.beta1);
    });
    EXPECT_TRUE(cluster->run_all());
    for (std::size_t i = 0; i < kMembers; ++i) EXPECT_TRUE((*cluster)[i].status->ok());
    return cluster;
}

double relative_error(const Vector& x) {
    const Vector best = optimum();
    double error = 0;
    double size = 0;
    for (std::size_t j = 0; j < kDimensions; ++j) {
        error += (x[j] - best[j]) * (x[j] - best[j]);
        size += best[j] * best[j];
    }
    return std::sqrt(error / size);
}

double error_of_mean(Cluster& cluster) {
    Vector mean(kDimensions);
    for (std::size_t i = 0; i < kMembers; ++i) {
        for (std::size_t j = 0; j < kDimensions; ++j) {
            mean[j] += static_cast<double>(cluster.parameters(i)[j]) / kMembers;
        }
    }
    return relative_error(mean);
}

// The recursions once more, in double, over the mixing matrices themselves.
class Recursion {
  public:
    explicit Recursion(const RunConfig& config)
        : config_(config),
          topology_(*gossip::make_topology(config.topology.name, {.degree = config.topology.degree})) {
        for (std::size_t i = 0; i < kMembers; ++i) {
            x_.emplace_back(kDimensions);
            state_.emplace_back(kDimensions);
            last_gradient_.emplace_back(kDimensions);
        }
    }
    void round(std::uint64_t t, double rate) {
        const std::string& name = config_.algorithm.name;
        const double beta = config_.optimizer.beta1;
        const auto before = x_;
        for (std::size_t i = 0; i < kMembers; ++i) {
            for (std::size_t j = 0; j < kDimensions; ++j) {
                const double g = quadratics_[i].gradient(j, x_[i][j]);
                double& s = state_[i][j];
                double direction = g;
                if (name == "dsgdm") direction = s = beta * s + g;
                if (name == "qg_dsgdm") direction = beta * s + g;
                if (name == "gradient_tracking") direction = s += g - last_gradient_[i][j];
                last_gradient_[i][j] = g;
                x_[i][j] -= rate * direction;
            }
        }
        mix(x_, t);
        if (name == "gradient_tracking") mix(state_, t);
        if (name != "qg_dsgdm") return;
        for (std::size_t i = 0; i < kMembers; ++i) {
            for (std::size_t j = 0; j < kDimensions; ++j) {
                state_[i][j] = beta * state_[i][j] + (1 - beta) * (before[i][j] - x_[i][j]) / rate;
            }
        }
    }
    [[nodiscard]] const std::vector<Vector>& x() const { return x_; }
    [[nodiscard]] double error_of_mean() const {
        Vector mean(kDimensions);
        for (const Vector& x : x_) {
            for (std::size_t j = 0; j < kDimensions; ++j) mean[j] += x[j] / kMembers;
        }
        return relative_error(mean);
    }

  private:
    void mix(std::vector<Vector>& vectors, std::uint64_t t) const {
        const auto old = vectors;
        const gossip::Roster roster(kMembers);
        for (std::size_t i = 0; i < kMembers; ++i) {
            const gossip::Exchange exchange = topology_->exchange(roster, i, t);
            for (std::size_t j = 0; j < kDimensions; ++j) {
                vectors[i][j] = exchange.keep * old[i][j];
                for (const gossip::Edge& edge : exchange.receive) {
                    vectors[i][j] += edge.weight * old[edge.member][j];
                }
            }
        }
    }

    const RunConfig& config_;
    std::unique_ptr<gossip::Topology> topology_;
    std::vector<Quadratic> quadratics_ = quadratics();
    std::vector<Vector> x_, state_, last_gradient_;
};

double final_error_in_double(const RunConfig& config, double rate, int rounds) {
    Recursion recursion(config);
    for (int t = 0; t < rounds; ++t) recursion.round(static_cast<std::uint64_t>(t), rate);
    return recursion.error_of_mean();
}

// Every algorithm is its recursion, with W(t) walking through the schedule: to fp32 accuracy, at every
// member.
TEST(GossipTraining, Each_algorithm_follows_its_recursion_in_double_precision) {
    struct Case {
        std::string algorithm;
        double rate, momentum;
    };
    for (const Case& c : {Case{"dsgd", 0.05, 0}, Case{"dsgdm", 0.005, 0.9}, Case{"qg_dsgdm", 0.005, 0.9},
                          Case{"gradient_tracking", 0.05, 0}}) {
        for (const char* topology : {"null_cascade", "ring"}) {
            const RunConfig config = gossip_run(c.algorithm, topology, c.momentum, 50);
            const auto cluster = run_members(config, c.rate);
            Recursion recursion(config);
            for (std::uint64_t t = 0; t < 50; ++t) recursion.round(t, c.rate);
            for (std::size_t i = 0; i < kMembers; ++i) {
                for (std::size_t j = 0; j < kDimensions; ++j) {
                    ASSERT_NEAR(cluster->parameters(i)[j], recursion.x()[i][j], 2e-6)
                        << c.algorithm << " " << topology << " member " << i;
                }
            }
        }
    }
}

TEST(GossipTraining, Gradient_tracking_is_exact_and_null_cascade_leaves_a_quarter_of_the_rings_error) {
    for (const char* topology : {"ring", "static_exponential", "null_cascade"}) {
        const RunConfig config = gossip_run("gradient_tracking", topology, 0, 1);
        EXPECT_LT(final_error_in_double(config, 0.05, 3000), 1e-12) << topology;
    }
    const RunConfig ring = gossip_run("dsgd", "ring", 0, 1);
    const RunConfig cascade = gossip_run("dsgd", "null_cascade", 0, 1);
    EXPECT_LT(final_error_in_double(cascade, 0.05, 3000), final_error_in_double(ring, 0.05, 3000) / 4);
}

TEST(GossipTraining, Quasi_global_momentum_leaves_a_fifth_of_local_momentums_error) {
    const RunConfig local = gossip_run("dsgdm", "null_cascade", 0.9, 1);
    const RunConfig global = gossip_run("qg_dsgdm", "null_cascade", 0.9, 1);
    EXPECT_LT(final_error_in_double(global, 0.005, 3000), final_error_in_double(local, 0.005, 3000) / 5);
}

// Parameters are fp32 in a Worker: 1e-6 is where their rounding ends the descent.
TEST(GossipTraining, Gradient_tracking_reaches_the_minimum_of_unequal_members_and_dsgd_does_not) {
    const auto tracking = run_members(gossip_run("gradient_tracking", "null_cascade", 0, 500), 0.05);
    const auto plain = run_members(gossip_run("dsgd", "null_cascade", 0, 500), 0.05);
    EXPECT_LT(error_of_mean(*tracking), 1e-6);
    EXPECT_GT(error_of_mean(*plain), 1e-4);
}

TEST(GossipTraining, Trackers_sum_to_the_gradients_at_every_round) {
    const RunConfig config = gossip_run("gradient_tracking", "null_cascade", 0, 40);
    std::map<std::uint64_t, std::pair<Vector, Vector>> sums;  // of trackers and of gradients
    Cluster cluster(config, kMembers,
                    [&](std::size_t i) { return std::make_unique<UnequalWorker>(i, 0.05, 0); });
    for (std::size_t i = 0; i < kMembers; ++i) {
        cluster[i].record.at_round = [&](const RoundReport& report, Algorithm& algorithm) {
            auto& [trackers, gradients] = sums[report.round];
            trackers.resize(kDimensions);
            gradients.resize(kDimensions);
            for (const StateVector& vector : algorithm.state()) {
                for (std::size_t j = 0; j < kDimensions; ++j) {
                    const double value = j < vector.values.size() ? static_cast<double>(vector.values[j]) : 0;
                    if (vector.name == "tracker") trackers[j] += value;
                    if (vector.name == "last_gradient") gradients[j] += value;
                }
            }
        };
    }
    ASSERT_TRUE(cluster.run_all());
    ASSERT_EQ(sums.size(), 40U);
    for (const auto& [round, sum] : sums) {
        for (std::size_t j = 0; j < kDimensions; ++j) {
            ASSERT_NEAR(sum.first[j], sum.second[j], 2e-5) << round;
        }
    }
}

// Saved after any step, in mid-round too, and restored into a new session: the same bits.
TEST(GossipTraining, A_restart_from_a_checkpoint_goes_on_bit_for_bit) {
    for (const char* name : {"dsgd", "qg_dsgdm", "gradient_tracking"}) {
        RunConfig config = gossip_run(name, "full", name == std::string("qg_dsgdm") ? 0.9 : 0.0, 6);
        config.algorithm.inner_steps = 5;
        const auto make = [](std::size_t i) { return std::make_unique<UnequalWorker>(i, 0.05, 0); };
        Cluster whole(config, 1, make);
        ASSERT_TRUE(whole.run_all());

        Cluster stopped(config, 1, make);
        std::map<std::string, std::vector<float>> saved;
        std::uint64_t round = 0;
        stopped[0].record.at_step = [&](std::uint64_t step) {
            if (step == 13) stopped[0].stop.request();
        };
        stopped[0].after = [&](Session& session) {
            round = session.algorithm().round();
            for (const StateVector& vector : session.algorithm().state()) {
                saved[vector.name] = {vector.values.begin(), vector.values.end()};
            }
        };
        ASSERT_TRUE(stopped.run_all());
        ASSERT_EQ(stopped[0].worker->step(), 13U);
        ASSERT_EQ(stopped[0].status->error().code, ErrorCode::interrupted);

        Cluster resumed(config, 1, make);
        std::ranges::copy(stopped.parameters(0), resumed.parameters(0).begin());
        resumed[0].worker->set_step(13);
        resumed[0].before = [&](Session& session) {
            for (const StateVector& vector : session.algorithm().state()) {
                std::ranges::copy(saved.at(vector.name), vector.values.begin());
            }
            session.algorithm().set_round(round);
        };
        ASSERT_TRUE(resumed.run_all());
        for (std::size_t j = 0; j < kDimensions; ++j) {
            EXPECT_EQ(resumed.parameters(0)[j], whole.parameters(0)[j]) << name;
        }
    }
}

TEST(GossipTraining, Under_lost_messages_and_with_a_late_joiner_all_finish_nearer_to_the_minimum) {
    for (const char* name : {"dsgd", "dsgdm", "qg_dsgdm", "gradient_tracking"}) {
        const bool momentum = std::string(name).find("dsgdm") != std::string::npos;
        RunConfig config = gossip_run(name, "one_peer_exponential", momentum ? 0.9 : 0.0, 150);
        config.topology.degree = 1;
        Cluster cluster(config, kMembers, [&](std::size_t i) {
            return std::make_unique<UnequalWorker>(i, momentum ? 0.005 : 0.05, config.optimizer.beta1);
        });
        Rng luck = Rng(3).split("loss");
        cluster.network().set_hook([&](const fakes::MemoryNetwork::Departure&) {
            return luck.uniform() < 0.3 ? fakes::MemoryNetwork::Fate{} : fakes::MemoryNetwork::Fate{0};
        });
        std::vector<std::size_t> early;
        for (std::size_t i = 0; i + 1 < kMembers; ++i) early.push_back(i);
        for (const std::size_t i : early) {
            cluster.start(i);
            cluster.network().announce_members_to(i, early, "start");
        }
        cluster[kMembers - 1].mode = JoinMode::late;
        cluster.network().at(0.5, [&] {
            cluster.start(kMembers - 1);
            cluster.network().announce_members("another");
        });
        ASSERT_TRUE(cluster.network().run());
        for (std::size_t i = 0; i < kMembers; ++i) {
            ASSERT_TRUE(cluster[i].status->ok()) << name << ": " << cluster[i].status->error().message;
        }
        // From 1 at the start. Without losses 0.015 remain (0.32 in qg_dsgdm, whose momentum still carries
        // the joiner's arrival). A lost share is asked for and comes late: members wait and fall behind, and
        // one that adopts a neighbour's parameters leaves out steps on its own data: 0.28 to 0.42.
        EXPECT_LT(error_of_mean(cluster), 0.45) << name;
    }
}

TEST(GossipTraining, What_does_not_fit_is_refused_with_both_keys) {
    const auto refusal = [](const RunConfig& config) {
        const Status status = validate(config);
        return status.ok() ? std::string() : status.error().message;
    };
    const auto fine = gossip_run("dsgd", "ring", 0, 100);
    EXPECT_EQ(refusal(fine), "");
    RunConfig config = fine;
    config.optimizer.name = "adamw";
    EXPECT_THAT(refusal(config), HasSubstr("algorithm.name = dsgd but optimizer.name = adamw"));
    config = fine;
    config.optimizer.beta1 = 0.9;
    EXPECT_THAT(refusal(config),
                HasSubstr("algorithm.name = dsgd has no momentum but optimizer.beta1 = 0.9"));
    config = gossip_run("qg_dsgdm", "ring", 0, 100);
    EXPECT_THAT(refusal(config),
                HasSubstr("algorithm.name = qg_dsgdm needs momentum but optimizer.beta1 = 0"));
    config = gossip_run("decentralized_adam", "ring", 0, 100);
    EXPECT_THAT(refusal(config), HasSubstr("algorithm.name = decentralized_adam but optimizer.name = sgd"));
    for (const char* codec : {"topk", "sign", "int4_block"}) {
        config = fine;
        config.codec.name = codec;
        config.codec.error_feedback = true;
        EXPECT_THAT(refusal(config), HasSubstr(std::string("codec.name = ") + codec +
                                               " is too coarse for algorithm.name = dsgd"));
    }
    config = fine;
    config.algorithm.outer_learning_rate = 0.5;
    EXPECT_THAT(refusal(config), HasSubstr("algorithm.name = dsgd takes no outer step"));
}

}  // namespace
}  // namespace Atoll::federation

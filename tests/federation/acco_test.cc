// ACCO and delayed updates against serial recursions in double precision, the closed form of their stability,
// and in virtual time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <complex>

#include "tests/federation/member_cluster.h"
#include "tests/federation/saved_member.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::QuadraticWorker;
using federation::testing::SavedMember;
using ::testing::HasSubstr;

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

RunConfig overlapped_run(const std::string& algorithm) {
    RunConfig config = federation::testing::small_run();
    config.algorithm.name = algorithm;
    config.averaging.name = "all_reduce";
    config.algorithm.batches_max = algorithm == "data_parallel" ? 0 : 1;
    config.optimizer.clip_norm = 0;
    return config;
}

double curvature(std::size_t j) { return 0.1 + 0.9 * static_cast<double>(j % 10) / 9; }

// A quadratic whose noise is new for each batch, also of the same step, and different on each member.
class NoisyQuadratic final : public Worker {
  public:
    NoisyQuadratic(std::uint64_t member, std::string optimizer, double rate)
        : member_(member), optimizer_(std::move(optimizer)), rate_(rate) {
        layout_.add("x", {40});
        parameters_ = kernels::FlatBuffer(layout_.size());
    }
    static double noise(std::uint64_t member, std::uint64_t batch, std::size_t j) {
        return 0.5 * Rng(member).split("batch", batch).split("component", j).normal();
    }
    static double gradient_at(double x, std::uint64_t member, std::uint64_t batch, std::size_t j) {
        return curvature(j) * (x - 1) + noise(member, batch, j);
    }
    const kernels::Layout& layout() const override { return layout_; }
    std::span<float> parameters() override { return parameters_.span(); }
    void parameters_changed() override {}
    Result<StepResult> inner_step() override { return Error{ErrorCode::failed, "not asked for"}; }
    Result<StepResult> gradient(std::span<float> gradient) override {
        for (std::size_t j = 0; j < 40; ++j) {
            gradient[j] =
                static_cast<float>(gradient_at(double{parameters_.data()[j]}, member_, batches_, j));
        }
        ++batches_;
        return StepResult{.loss = 1, .tokens = 1, .gradient_norm = 1, .learning_rate = rate_};
    }
    Result<std::unique_ptr<model::Optimizer>> make_optimizer(const kernels::Layout& layout) override {
        return model::make_optimizer(optimizer_, *ops_, layout, {.beta1 = 0, .weight_decay = 0});
    }
    double learning_rate() const override { return rate_; }
    Result<double> validation_loss() override { return 0.0; }
    std::uint64_t step() const override { return step_; }
    void set_step(std::uint64_t step) override { step_ = step; }

  private:
    std::uint64_t member_;
    std::string optimizer_;
    double rate_;
    std::uint64_t batches_ = 0;
    std::unique_ptr<kernels::Ops> ops_ = kernels::make_cpu_ops(1);
    kernels::Layout layout_;
    kernels::FlatBuffer parameters_;
    std::uint64_t step_ = 0;
};

// AdamW with beta1 = 0, beta2 = 0.95, from state v and step t.
struct Adam {
    std::vector<double> v = std::vector<double>(40);
    int t = 0;
    std::vector<double> step(std::vector<double> x, const std::vector<double>& g, double rate) {
        ++t;
        for (std::size_t j = 0; j < x.size(); ++j) {
            v[j] = 0.95 * v[j] + 0.05 * g[j] * g[j];
            x[j] -= rate * g[j] / (std::sqrt(v[j] / (1 - std::pow(0.95, t))) + 1e-8);
        }
        return x;
    }
};

// Sum over members of the gradients of batch number `batch`.
std::vector<double> gradients(const std::vector<double>& x, std::size_t members, std::uint64_t batch) {
    std::vector<double> sum(x.size());
    for (std::uint64_t m = 0; m < members; ++m) {
        for (std::size_t j = 0; j < x.size(); ++j) sum[j] += NoisyQuadratic::gradient_at(x[j], m, batch, j);
    }
    return sum;
}

std::vector<double> scaled(std::vector<double> a, const std::vector<double>& b, double factor) {
    for (std::size_t j = 0; j < a.size(); ++j) a[j] = (a[j] + b[j]) * factor;
    return a;
}

TEST(Acco, Is_the_serial_recursion_of_the_paper) {
    constexpr std::size_t kMembers = 3;
    Cluster cluster(overlapped_run("acco"), kMembers,
                    [](std::size_t i) { return std::make_unique<NoisyQuadratic>(i, "adamw", 0.05); });
    ASSERT_TRUE(cluster.run_all());

    const std::vector<double> zero(40);
    std::vector<double> theta(40);
    Adam opt;
    std::uint64_t batch = 0;
    std::vector<double> first = gradients(theta, kMembers, batch++);
    for (int t = 0; t < 40; ++t) {
        Adam discarded = opt;
        const auto estimate = discarded.step(theta, scaled(first, zero, 1.0 / kMembers), 0.05);
        const auto second = gradients(theta, kMembers, batch++);
        theta = opt.step(theta, scaled(first, second, 1.0 / (2 * kMembers)), 0.05);
        first = gradients(estimate, kMembers, batch++);
    }
    for (std::size_t m = 0; m < kMembers; ++m) {
        ASSERT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
        for (std::size_t j = 0; j < 40; ++j) EXPECT_NEAR(cluster.parameters(m)[j], theta[j], 1e-4);
    }
    EXPECT_EQ(cluster[0].worker->step(), 40U) << "steps of the optimizer are commits";
}

TEST(DelayedUpdate, Is_gradient_descent_on_the_gradients_of_one_step_before) {
    constexpr std::size_t kMembers = 3;
    Cluster cluster(overlapped_run("delayed_update"), kMembers,
                    [](std::size_t i) { return std::make_unique<NoisyQuadratic>(i, "sgd", 0.3); });
    ASSERT_TRUE(cluster.run_all());
    std::vector<double> theta(40);
    std::uint64_t batch = 0;
    std::vector<double> late = gradients(theta, kMembers, batch++);
    for (int t = 0; t < 40; ++t) {
        const auto next = gradients(theta, kMembers, batch++);
        for (std::size_t j = 0; j < 40; ++j) theta[j] -= 0.3 * late[j] / kMembers;
        late = next;
    }
    for (std::size_t j = 0; j < 40; ++j) EXPECT_NEAR(cluster.parameters(1)[j], theta[j], 1e-4);
}

// Distance of coordinate 9, whose curvature is 1, after each round of one step. The first gradient is a given
// one, of another model: with equal models ACCO's stay equal and are those of gradient descent.
std::vector<double> distances(const std::string& algorithm, double rate, std::int64_t rounds) {
    RunConfig config = overlapped_run(algorithm);
    config.algorithm.inner_steps = 1;
    config.run.rounds = rounds;
    Cluster cluster(config, 2, [&](std::size_t) {
        return std::make_unique<QuadraticWorker>(
            QuadraticWorker::Options{.parameters = 10, .learning_rate = rate});
    });
    for (std::size_t m = 0; m < 2; ++m) {
        cluster[m].before = [](Session& session) {
            for (const auto& vector : session.algorithm().state()) {
                if (vector.name.starts_with("gradient_")) std::ranges::fill(vector.values, 1.0F);
            }
        };
    }
    std::vector<double> all;
    const auto& worker = dynamic_cast<QuadraticWorker&>(*cluster[0].worker);
    cluster[0].record.at_round = [&](const RoundReport&, Algorithm&) {
        all.push_back(std::abs(double{cluster.parameters(0)[9]} - double{worker.minimum()[9]}));
    };
    EXPECT_TRUE(cluster.run_all());
    return all;
}

// Of x <- x - a/2 (x + y), y <- x - a y (ACCO with equal halves), and of x <- x - a x', x' <- x (delayed).
double acco_radius(double a) { return std::max(std::abs(1 - a), a / 2); }
double delayed_radius(double a) {
    const std::complex<double> root = std::sqrt(std::complex<double>(1 - 4 * a));
    return std::max(std::abs((1.0 + root) / 2.0), std::abs((1.0 - root) / 2.0));
}

TEST(Acco, Contracts_by_the_spectral_radius_of_its_recursion) {
    for (const double a : {0.25, 1.5}) {
        // Far from the first steps, and before rounding stops it.
        const auto all = distances("acco", a, 32);
        const double measured = std::pow(all[31] / all[11], 1.0 / 20);
        EXPECT_NEAR(measured, acco_radius(a), 2e-3) << a;
    }
    const auto all = distances("delayed_update", 0.5, 25);  // complex: over whole periods of 8 steps
    EXPECT_NEAR(std::pow(all[24] / all[8], 1.0 / 16), delayed_radius(0.5), 2e-3);
}

TEST(Acco, Is_stable_up_to_two_over_the_curvature_where_delayed_updates_stop_at_one) {
    const auto grows = [](const std::string& algorithm, double a) {
        const auto all = distances(algorithm, a, 120);
        return *std::max_element(all.end() - 10, all.end()) >
               *std::max_element(all.begin(), all.begin() + 10);
    };
    EXPECT_FALSE(grows("acco", 1.05));
    EXPECT_FALSE(grows("acco", 1.9));
    EXPECT_TRUE(grows("acco", 2.05));
    EXPECT_FALSE(grows("delayed_update", 0.95));
    EXPECT_TRUE(grows("delayed_update", 1.05));
    EXPECT_FALSE(grows("data_parallel", 1.9));
    EXPECT_TRUE(grows("data_parallel", 2.05));
}

struct Pace {
    double seconds = 0;  // of the run
    double idle = 0;     // fraction of it in which member 0 waited for an exchange
    std::uint64_t tokens = 0;
};
// `latency` in batches of a normal member; `slow`: how many times as long member 2 takes for one.
Pace pace(const std::string& algorithm, double latency, double slow) {
    RunConfig config = overlapped_run(algorithm);
    config.algorithm.batches_max = 0;
    Cluster cluster(
        config, 3,
        [](std::size_t i) {
            return std::make_unique<QuadraticWorker>(QuadraticWorker::Options{.noise = 0.1, .noise_seed = i});
        },
        {.latency_seconds = 0.01 * latency});
    cluster[2].step_seconds *= slow;
    Pace pace;
    cluster[0].record.at_round = [&](const RoundReport& report, Algorithm&) {
        pace.idle += report.exchange_seconds;
        pace.tokens += report.tokens;
        pace.seconds = cluster.network().now();
    };
    EXPECT_TRUE(cluster.run_all());
    EXPECT_TRUE(cluster[0].status->ok());
    pace.idle /= pace.seconds;
    return pace;
}

TEST(Acco, Computes_while_it_communicates) {
    const Pace sync = pace("data_parallel", 1, 1);
    const Pace acco = pace("acco", 1, 1);
    const Pace delayed = pace("delayed_update", 1, 1);
    EXPECT_GT(sync.idle, 0.8) << "some six messages one after the other, each as long as a batch";
    EXPECT_LT(acco.idle, 0.05);
    EXPECT_LT(delayed.idle, 0.05);
    // 40 steps of two exchanges each, and as many batches as fit into their time.
    EXPECT_EQ(sync.tokens, 40U);
    EXPECT_NEAR(static_cast<double>(acco.tokens), acco.seconds / 0.01, 0.05 * acco.seconds / 0.01);
    EXPECT_GT(acco.tokens, 8 * sync.tokens);
    // As many batches in less than a third of the time.
    EXPECT_LT(acco.seconds / static_cast<double>(acco.tokens),
              sync.seconds / static_cast<double>(sync.tokens) / 3);
}

TEST(Acco, Fast_members_take_in_more_batches_while_they_wait_for_a_slow_one) {
    const Pace equal = pace("acco", 0.01, 1);
    const Pace unequal = pace("acco", 0.01, 4);
    EXPECT_LT(unequal.idle, 0.05);
    EXPECT_GT(unequal.tokens, 3 * equal.tokens);
}

TEST(Acco, Resumed_equals_no_interruption_bit_for_bit) {
    for (const std::string algorithm : {"acco", "delayed_update"}) {
        const auto noisy = [](std::size_t i) {
            return std::make_unique<QuadraticWorker>(
                QuadraticWorker::Options{.noise = 0.3, .noise_seed = i, .optimizer = "adamw"});
        };
        const RunConfig config = overlapped_run(algorithm);
        Cluster whole(config, 3, noisy);
        ASSERT_TRUE(whole.run_all());
        Cluster first(config, 3, noisy);
        std::vector<SavedMember> saved(3);
        for (std::size_t m = 0; m < 3; ++m) {
            first[m].record.at_step = [&, m](std::uint64_t step) {
                if (step == 17) first[m].stop.request();
            };
            first[m].after = [&, m](Session& session) {
                saved[m] = SavedMember(session.algorithm(), *first[m].worker);
            };
        }
        ASSERT_TRUE(first.run_all());
        Cluster second(config, 3, noisy);
        for (std::size_t m = 0; m < 3; ++m)
            second[m].before = [&, m](Session& session) {
                saved[m].restore(session.algorithm(), *second[m].worker);
            };
        ASSERT_TRUE(second.run_all());
        for (std::size_t m = 0; m < 3; ++m) {
            ASSERT_TRUE(second[m].status->ok()) << second[m].status->error().message;
            EXPECT_EQ(copy(second.parameters(m)), copy(whole.parameters(m))) << algorithm;
        }
    }
}

TEST(Acco, Lost_messages_and_a_member_that_comes_back_end_in_the_same_parameters) {
    for (const std::string algorithm : {"acco", "delayed_update"}) {
        RunConfig config = overlapped_run(algorithm);
        config.algorithm.batches_max = 0;
        config.run.rounds = 30;
        Cluster cluster(config, 4, [](std::size_t i) {
            return std::make_unique<QuadraticWorker>(
                QuadraticWorker::Options{.noise = 0.1, .noise_seed = i, .optimizer = "adamw"});
        });
        Rng rng(4);
        cluster.network().set_hook([&](const fakes::MemoryNetwork::Departure&) {
            return rng.uniform() < 0.2 ? fakes::MemoryNetwork::Fate{} : fakes::MemoryNetwork::Fate{0.0};
        });
        cluster[3].mode = JoinMode::late;
        for (std::size_t m = 0; m < 3; ++m) {
            cluster.start(m);
            cluster.network().announce_members_to(m, {0, 1, 2}, "start");
        }
        cluster.network().at(2, [&] {
            cluster.start(3);
            cluster.network().announce_members("3 joins");
        });
        ASSERT_TRUE(cluster.network().run());
        for (std::size_t m = 0; m < 4; ++m) {
            ASSERT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
            EXPECT_EQ(cluster[m].worker->step(), 150U);
            EXPECT_EQ(copy(cluster.parameters(m)), copy(cluster.parameters(0))) << algorithm << " " << m;
        }
    }
}

TEST(Acco, A_key_that_only_acco_reads_is_refused_elsewhere) {
    RunConfig config = overlapped_run("data_parallel");
    EXPECT_TRUE(validate(config).ok());
    config.algorithm.batches_max = 3;
    const Status status = validate(config);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.error().message, HasSubstr("algorithm.batches_max = 3"));
    EXPECT_THAT(status.error().message, HasSubstr("algorithm.name = data_parallel"));
}

}  // namespace
}  // namespace Atoll::federation

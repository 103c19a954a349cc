// Distributed Lion against Lion itself, against votes counted in double precision, and the invariants of its
// paper.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/federation/member_cluster.h"
#include "tests/federation/saved_member.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::SavedMember;
using ::testing::HasSubstr;

constexpr std::size_t kRows = 6;
constexpr std::size_t kColumns = 16;
constexpr std::size_t kValues = kRows * kColumns;

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

struct Data {
    double noise = 1;        // of each gradient component
    double offset = 0;       // standard deviation of a member's own minimum
    bool untouched = false;  // the last row has no gradient
    bool liar = false;       // the gradient points the other way
    double start = 0;        // of all parameters
    double rate = 0.01;
    double decay = 0;
};

// 1/2 |x - b|^2 in a matrix (which decays), with Lion's constants.
class MatrixWorker final : public Worker {
  public:
    MatrixWorker(std::uint64_t member, const Data& data) : member_(member), data_(data) {
        layout_.add("matrix", {kRows, kColumns});
        parameters_ = kernels::FlatBuffer(layout_.size());
        std::ranges::fill(parameters_.span(), static_cast<float>(data.start));
    }
    [[nodiscard]] double gradient_at(double x, std::uint64_t step, std::size_t i) const {
        if (data_.untouched && i >= kValues - kColumns) return 0;
        Rng noise = Rng(member_).split("step", step).split("component", i);
        const double minimum = 0.3 + data_.offset * Rng(member_).split("offset", i).normal();
        return (data_.liar ? -1 : 1) * (x - minimum + data_.noise * noise.normal());
    }
    const kernels::Layout& layout() const override { return layout_; }
    std::span<float> parameters() override { return parameters_.span(); }
    void parameters_changed() override {}
    Result<StepResult> inner_step() override { return Error{ErrorCode::failed, "not asked for"}; }
    Result<StepResult> gradient(std::span<float> gradient) override {
        double loss = 0;
        for (std::size_t i = 0; i < kValues; ++i) {
            const double x = double{parameters_.data()[i]};
            gradient[i] = static_cast<float>(gradient_at(x, step_, i));
            loss += 0.5 * (x - 0.3) * (x - 0.3);
        }
        return StepResult{.loss = loss, .tokens = 1, .gradient_norm = 0, .learning_rate = data_.rate};
    }
    Result<std::unique_ptr<model::Optimizer>> make_optimizer(const kernels::Layout& layout) override {
        return model::make_optimizer("lion", *ops_, layout,
                                     {.beta1 = 0.9, .beta2 = 0.99, .weight_decay = data_.decay});
    }
    Result<double> validation_loss() override { return 0.0; }
    std::uint64_t step() const override { return step_; }
    void set_step(std::uint64_t step) override { step_ = step; }

  private:
    std::uint64_t member_;
    Data data_;
    std::unique_ptr<kernels::Ops> ops_ = kernels::make_cpu_ops(1);
    kernels::Layout layout_;
    kernels::FlatBuffer parameters_;
    std::uint64_t step_ = 0;
};

RunConfig lion_run(const Data& data, std::int64_t steps = 40) {
    RunConfig config = federation::testing::small_run();
    config.algorithm.name = "distributed_lion";
    config.averaging.name = "all_reduce";
    config.optimizer.name = "lion";
    config.optimizer.weight_decay = data.decay;
    config.optimizer.clip_norm = 0;
    config.run.rounds = steps / 5;
    return config;
}

std::unique_ptr<Cluster> run_members(const RunConfig& config, std::size_t members, const Data& data,
                                     fakes::MemoryNetwork::Options network = {}) {
    auto cluster = std::make_unique<Cluster>(
        config, members, [&](std::size_t i) { return std::make_unique<MatrixWorker>(i, data); }, network);
    EXPECT_TRUE(cluster->run_all());
    for (std::size_t m = 0; m < members; ++m) {
        EXPECT_TRUE((*cluster)[m].status->ok()) << (*cluster)[m].status->error().message;
        EXPECT_EQ(copy(cluster->parameters(m)), copy(cluster->parameters(0))) << "replicas are bit-identical";
    }
    return cluster;
}

double distance(std::span<const float> x) {
    double sum = 0;
    for (const float value : x) sum += 0.5 * std::pow(double{value} - 0.3, 2);
    return sum;
}

TEST(DistributedLion, One_member_is_Lion_bit_for_bit_with_either_vote) {
    const Data data{.decay = 0.1};
    MatrixWorker alone(0, data);
    const auto lion = alone.make_optimizer(alone.layout()).value();
    kernels::FlatBuffer gradient(kValues);
    for (std::int64_t step = 1; step <= 1000; ++step) {
        ASSERT_TRUE(alone.gradient(gradient.span()).ok());
        lion->step({alone.parameters(), gradient.span(), data.rate, 1, step});
        alone.set_step(static_cast<std::uint64_t>(step));
    }
    for (const std::string vote : {"majority", "average"}) {
        RunConfig config = lion_run(data, 1000);
        config.algorithm.vote = vote;
        EXPECT_EQ(copy(run_members(config, 1, data)->parameters(0)), copy(alone.parameters())) << vote;
    }
}

// The votes counted as whole numbers, everything else in double precision.
std::vector<double> reference(std::size_t members, const Data& data, const std::string& vote,
                              const std::string& ties) {
    std::vector<MatrixWorker> workers;
    for (std::size_t m = 0; m < members; ++m) workers.emplace_back(m, data);
    std::vector<std::vector<double>> momentum(members, std::vector<double>(kValues));
    std::vector<double> x(kValues, data.start);
    for (std::uint64_t step = 0; step < 40; ++step) {
        for (std::size_t i = 0; i < kValues; ++i) {
            const double turn = (step + i) % 2 == 0 ? 1 : -1;
            int sum = 0;
            for (std::size_t m = 0; m < members; ++m) {
                const double g = workers[m].gradient_at(x[i], step, i);
                const double u = 0.9 * momentum[m][i] + 0.1 * g;
                momentum[m][i] = 0.99 * momentum[m][i] + 0.01 * g;
                sum += static_cast<int>(u > 0 ? 1 : u < 0 ? -1 : turn);
            }
            double d = double(sum) / double(members);
            if (vote == "majority") d = sum > 0 ? 1 : sum < 0 ? -1 : ties == "zero" ? 0 : turn;
            x[i] = (1 - data.rate * data.decay) * x[i] - data.rate * d;
        }
    }
    return x;
}

TEST(DistributedLion, Is_the_vote_of_the_paper) {
    const Data data{.untouched = true, .decay = 0.1};
    for (const std::size_t members : {2U, 3U, 4U}) {
        for (const auto& [vote, ties] : {std::pair{"majority", "alternate"}, std::pair{"majority", "zero"},
                                         std::pair{"average", "alternate"}}) {
            RunConfig config = lion_run(data);
            config.algorithm.vote = vote;
            config.algorithm.ties = ties;
            const auto cluster = run_members(config, members, data);
            const auto expected = reference(members, data, vote, ties);
            for (std::size_t i = 0; i < kValues; ++i)
                EXPECT_NEAR(cluster->parameters(0)[i], expected[i], 1e-5) << vote << " " << ties << " " << i;
        }
    }
}

TEST(DistributedLion, Order_of_arrival_changes_no_bit) {
    const auto first = run_members(lion_run({}), 4, {});
    for (std::uint64_t seed = 2; seed < 6; ++seed) {
        const auto other = run_members(lion_run({}), 4, {}, {.seed = seed, .jitter_seconds = 0.05});
        EXPECT_EQ(copy(other->parameters(0)), copy(first->parameters(0)));
    }
}

// A worker with a vector so long that no shard has odd bits.
class LongWorker final : public Worker {
  public:
    static constexpr std::size_t kLength = std::size_t{16} * 120 * 4;
    LongWorker() {
        layout_.add("x", {kLength});
        parameters_ = kernels::FlatBuffer(kLength);
    }
    const kernels::Layout& layout() const override { return layout_; }
    std::span<float> parameters() override { return parameters_.span(); }
    void parameters_changed() override {}
    Result<StepResult> inner_step() override { return Error{ErrorCode::failed, "not asked for"}; }
    Result<StepResult> gradient(std::span<float> gradient) override {
        std::ranges::fill(gradient, 1.0F);
        return StepResult{.loss = 1, .tokens = 1, .gradient_norm = 1, .learning_rate = 0.01};
    }
    Result<std::unique_ptr<model::Optimizer>> make_optimizer(const kernels::Layout& layout) override {
        return model::make_optimizer("lion", *ops_, layout, {});
    }
    Result<double> validation_loss() override { return 0.0; }
    std::uint64_t step() const override { return step_; }
    void set_step(std::uint64_t step) override { step_ = step; }

  private:
    std::unique_ptr<kernels::Ops> ops_ = kernels::make_cpu_ops(1);
    kernels::Layout layout_;
    kernels::FlatBuffer parameters_;
    std::uint64_t step_ = 0;
};

TEST(DistributedLion, Sends_one_bit_up_and_one_or_log2_bits_down_a_parameter_to_the_byte) {
    const auto bytes_of_a_round = [](const std::string& vote, std::size_t members) {
        RunConfig config = lion_run({});
        config.algorithm.vote = vote;
        Cluster cluster(config, members, [](std::size_t) { return std::make_unique<LongWorker>(); });
        EXPECT_TRUE(cluster.run_all());
        for (std::size_t m = 0; m < members; ++m) {
            for (const RoundReport& report : cluster[m].record.rounds)
                EXPECT_EQ(report.average.bytes_sent, cluster[0].record.rounds[0].average.bytes_sent);
        }
        return cluster[0].record.rounds[0].average.bytes_sent;
    };
    for (const std::size_t members : {2U, 3U, 4U, 8U}) {
        // Votes on what others own, and to each of the others what became of the votes on our own.
        const std::size_t up = LongWorker::kLength * (members - 1) / members / 8;
        EXPECT_EQ(bytes_of_a_round("majority", members), 5 * (up + up));
        const std::size_t bits = members == 8 ? 4 : members == 4 ? 3 : 2;
        EXPECT_EQ(bytes_of_a_round("average", members), 5 * (up + bits * up));
    }
}

TEST(DistributedLion, A_step_is_at_most_the_rate_and_decay_drives_into_the_box) {
    const Data data{.start = 200, .rate = 0.05, .decay = 0.1};
    for (const std::string vote : {"majority", "average"}) {
        RunConfig config = lion_run(data);
        config.algorithm.inner_steps = 1;
        config.run.rounds = 300;
        config.algorithm.vote = vote;
        Cluster cluster(config, 3, [&](std::size_t i) { return std::make_unique<MatrixWorker>(i, data); });
        std::vector<float> before(kValues, 200);
        double excess = data.decay * 200 - 1;
        cluster[0].record.at_round = [&](const RoundReport&, Algorithm&) {
            double now = 0;
            for (std::size_t i = 0; i < kValues; ++i) {
                const double x = double{cluster.parameters(0)[i]};
                EXPECT_LE(std::abs(x - (1 - data.rate * data.decay) * double{before[i]}), data.rate * 1.001);
                now = std::max(now, std::abs(data.decay * x) - 1);
            }
            EXPECT_LE(now, std::max(0.0, (1 - data.rate * data.decay) * excess) + 1e-5) << "phase I";
            excess = now;
            before = copy(cluster.parameters(0));
        };
        ASSERT_TRUE(cluster.run_all());
        EXPECT_LT(excess, data.decay * 200 - 1);
    }
}

TEST(DistributedLion, What_no_batch_touches_does_not_drift) {
    const Data data{.untouched = true, .start = 2};
    for (const std::string ties : {"alternate", "zero"}) {
        RunConfig config = lion_run(data, 400);
        config.algorithm.ties = ties;
        const auto cluster = run_members(config, 4, data);
        for (std::size_t i = kValues - kColumns; i < kValues; ++i)
            EXPECT_NEAR(cluster->parameters(0)[i], 2, 1e-4) << "after an even number of steps";
    }
}

TEST(DistributedLion, More_members_help_against_noise) {
    const Data data{.noise = 4, .rate = 0.02};
    double one = 0;
    double many = 0;
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
        const auto from = [&](std::size_t members) {
            Cluster cluster(lion_run(data, 60), members, [&](std::size_t i) {
                return std::make_unique<MatrixWorker>(100 * seed + i, data);
            });
            EXPECT_TRUE(cluster.run_all());
            return distance(cluster.parameters(0));
        };
        one += from(1);
        many += from(9);
    }
    EXPECT_LT(many, 0.7 * one);
}

// Signs forget how far each member's minimum is away: the vote finds their median, not their mean.
TEST(DistributedLion, Unequal_data_leave_a_bias_that_equal_data_do_not) {
    const Data equal{.noise = 0.1, .rate = 0.005};
    const Data unequal{.noise = 0.1, .offset = 3, .rate = 0.005};
    const auto bias = [](const Data& data) {
        const auto cluster = run_members(lion_run(data, 1000), 8, data);
        double squares = 0;
        for (std::size_t i = 0; i < kValues; ++i) {
            double mean = 0;
            for (std::uint64_t m = 0; m < 8; ++m)
                mean += (0.3 + data.offset * Rng(m).split("offset", i).normal()) / 8;
            squares += std::pow(double{cluster->parameters(0)[i]} - mean, 2);
        }
        return std::sqrt(squares / kValues);
    };
    EXPECT_LT(bias(equal), 0.02);
    EXPECT_GT(bias(unequal), 0.3);
}

TEST(DistributedLion, One_liar_among_nine_is_outvoted) {
    const Data honest{.noise = 0.5};
    Data liar = honest;
    liar.liar = true;
    const auto with = [&](bool lies) {
        Cluster cluster(lion_run(honest), 9, [&](std::size_t i) {
            return std::make_unique<MatrixWorker>(i, lies && i == 4 ? liar : honest);
        });
        EXPECT_TRUE(cluster.run_all());
        return distance(cluster.parameters(0));
    };
    EXPECT_LT(with(true), 1.1 * with(false) + 0.02);
}

TEST(DistributedLion, Resumed_equals_no_interruption_bit_for_bit) {
    const auto whole = run_members(lion_run({}), 3, {});
    Cluster first(lion_run({}), 3, [](std::size_t i) { return std::make_unique<MatrixWorker>(i, Data{}); });
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
    Cluster second(lion_run({}), 3, [](std::size_t i) { return std::make_unique<MatrixWorker>(i, Data{}); });
    for (std::size_t m = 0; m < 3; ++m)
        second[m].before = [&, m](Session& session) {
            saved[m].restore(session.algorithm(), *second[m].worker);
        };
    ASSERT_TRUE(second.run_all());
    for (std::size_t m = 0; m < 3; ++m) {
        ASSERT_TRUE(second[m].status->ok()) << second[m].status->error().message;
        EXPECT_EQ(copy(second.parameters(m)), copy(whole->parameters(m)));
    }
}

TEST(DistributedLion, A_joiner_gets_the_parameters_and_votes_from_then_on) {
    for (const std::string vote : {"majority", "average"}) {
        RunConfig config = lion_run({}, 200);
        config.algorithm.vote = vote;
        Cluster cluster(config, 3, [](std::size_t i) { return std::make_unique<MatrixWorker>(i, Data{}); });
        cluster[2].mode = JoinMode::late;
        cluster.start(0);
        cluster.start(1);
        for (const std::size_t m : {0UL, 1UL}) cluster.network().announce_members_to(m, {0, 1}, "start");
        cluster.network().at(0.5, [&] {
            cluster.start(2);
            cluster.network().announce_members("2 joins");
        });
        ASSERT_TRUE(cluster.network().run());
        for (std::size_t m = 0; m < 3; ++m) {
            ASSERT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
            EXPECT_EQ(copy(cluster.parameters(m)), copy(cluster.parameters(0)));
        }
        EXPECT_EQ(cluster[0].record.rounds.back().average.members, 3U);
        EXPECT_GT(cluster[2].record.rounds.size(), 10U);
    }
}

TEST(DistributedLion, What_cannot_work_is_refused_with_both_keys) {
    const auto refused = [](const std::function<void(RunConfig&)>& change) {
        RunConfig config = lion_run({});
        EXPECT_TRUE(validate(config).ok());
        change(config);
        const Status status = validate(config);
        return status.ok() ? std::string("accepted") : status.error().message;
    };
    const std::string adam = refused([](RunConfig& config) { config.optimizer.name = "adamw"; });
    EXPECT_THAT(adam, HasSubstr("optimizer.name = adamw"));
    EXPECT_THAT(adam, HasSubstr("algorithm.name = distributed_lion"));
    EXPECT_THAT(refused([](RunConfig& config) { config.averaging.name = "push_sum"; }),
                HasSubstr("averaging.name = push_sum"));
    EXPECT_THAT(refused([](RunConfig& config) { config.codec.name = "topk"; }),
                HasSubstr("codec.name = topk"));
    const std::string ties = refused([](RunConfig& config) {
        config.algorithm.vote = "average";
        config.algorithm.ties = "zero";
    });
    EXPECT_THAT(ties, HasSubstr("algorithm.ties = zero"));
    EXPECT_THAT(ties, HasSubstr("algorithm.vote = average"));
}

}  // namespace
}  // namespace Atoll::federation

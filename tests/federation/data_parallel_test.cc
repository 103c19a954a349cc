// Data-parallel training against one replica with the whole batch, and against AdamW in double precision.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "federation/algorithm/sharded_optimizer.h"
#include "tests/federation/member_cluster.h"
#include "tests/federation/replica_run.h"
#include "tests/federation/saved_member.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::OwnedReplica;
using federation::testing::PairLanguage;
using federation::testing::QuadraticWorker;
using federation::testing::SavedMember;
using ::testing::HasSubstr;

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

RunConfig parallel_run() {
    RunConfig config = federation::testing::small_run();
    config.algorithm.name = "data_parallel";
    config.averaging.name = "all_reduce";
    return config;
}

QuadraticWorker::Options adam_worker(std::uint64_t noise_seed, std::size_t batch = 1) {
    return {.noise = 0.3,
            .noise_seed = noise_seed,
            .optimizer = "adamw",
            .optimizer_options = {},
            .batch = batch};
}

Cluster::MakeWorker noisy() {
    return [](std::size_t i) { return std::make_unique<QuadraticWorker>(adam_worker(1 + i)); };
}

TEST(DataParallel, Members_with_a_batch_each_equal_one_with_all_of_them) {
    for (const std::size_t members : {2U, 3U, 4U}) {
        Cluster many(parallel_run(), members, noisy());
        Cluster one(parallel_run(), 1,
                    [&](std::size_t) { return std::make_unique<QuadraticWorker>(adam_worker(1, members)); });
        ASSERT_TRUE(many.run_all());
        ASSERT_TRUE(one.run_all());
        for (std::size_t m = 0; m < members; ++m) {
            EXPECT_EQ(copy(many.parameters(m)), copy(many.parameters(0)));
            for (std::size_t i = 0; i < 64; ++i)
                EXPECT_NEAR(many.parameters(m)[i], one.parameters(0)[i], 2e-6);
        }
    }
}

// Micro-batch k of a step is the next batch of stream k.
class Interleaved final : public model::BatchSource {
  public:
    explicit Interleaved(std::uint64_t streams) {
        for (std::uint64_t k = 0; k < streams; ++k) streams_.emplace_back(k);
    }
    Status next(model::TokenBatch& batch) override {
        return streams_[position_++ % streams_.size()].next(batch);
    }
    std::uint64_t position() const override { return position_; }
    void seek(std::uint64_t position) override { position_ = position; }
    Status held_out(std::uint64_t index, model::TokenBatch& batch) override {
        return streams_[0].held_out(index, batch);
    }
    std::uint64_t held_out_count(std::int64_t batch, std::int64_t sequence) const override {
        return streams_[0].held_out_count(batch, sequence);
    }

  private:
    std::vector<PairLanguage> streams_;
    std::uint64_t position_ = 0;
};

TEST(DataParallel, Transformers_with_a_batch_each_equal_one_with_all_of_them) {
    constexpr std::size_t kMembers = 3;
    RunConfig config = parallel_run();
    config.model = federation::testing::smallest_model();
    config.run.rounds = 2;
    config.optimizer.learning_rate = 3e-3;
    config.optimizer.batch_sequences = 2;
    Cluster many(config, kMembers, [&](std::size_t i) { return OwnedReplica::make(config, i); });
    ASSERT_TRUE(many.run_all());
    for (std::size_t m = 0; m < kMembers; ++m) {
        ASSERT_TRUE(many[m].status->ok()) << many[m].status->error().message;
        EXPECT_TRUE(dynamic_cast<OwnedReplica&>(*many[m].worker).trainer().optimizer_state().empty())
            << "the state is in the shards";
    }

    RunConfig whole = config;
    whole.optimizer.batch_sequences = 2 * kMembers;
    whole.optimizer.accumulation = kMembers;
    const auto ops = kernels::make_cpu_ops(1);
    Interleaved data(kMembers);
    const auto trainer = model::Trainer::make(*ops, data, trainer_options(whole)).value();
    for (int step = 0; step < 10; ++step) ASSERT_TRUE(trainer->inner_step().ok());
    double worst = 0;
    for (std::size_t i = 0; i < trainer->parameters().size(); ++i) {
        const double difference = double{trainer->parameters()[i]} - double{many.parameters(0)[i]};
        worst = std::max(worst, std::abs(difference));
    }
    // Ten steps of at most 3e-3: Adam turns rounding in gradients near zero into steps, but of few
    // parameters.
    EXPECT_LT(worst, 1e-3);
    EXPECT_LT(federation::testing::distance(trainer->parameters(), many.parameters(0)), 3e-3);
}

// A worker whose gradient is given, and worth `tokens`.
class GivenGradient final : public Worker {
  public:
    GivenGradient(std::uint64_t member, std::uint64_t tokens) : member_(member), tokens_(tokens) {
        layout_.add("matrix", {7, 9});
        layout_.add("vector", {50});
        parameters_ = kernels::FlatBuffer(layout_.size());
    }
    static double value(std::uint64_t member, std::uint64_t step, std::size_t i) {
        return Rng(member).split("gradient", step).split("component", i).normal();
    }
    const kernels::Layout& layout() const override { return layout_; }
    std::span<float> parameters() override { return parameters_.span(); }
    void parameters_changed() override {}
    Result<StepResult> inner_step() override { return Error{ErrorCode::failed, "not asked for"}; }
    Result<StepResult> gradient(std::span<float> gradient) override {
        for (const auto& slot : layout_.slots()) {
            for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i)
                gradient[i] = static_cast<float>(value(member_, step_, i));
        }
        return StepResult{.loss = 1, .tokens = tokens_, .gradient_norm = 1, .learning_rate = 0.01};
    }
    Result<std::unique_ptr<model::Optimizer>> make_optimizer(const kernels::Layout& layout) override {
        return model::make_optimizer("adamw", *ops_, layout,
                                     {.beta1 = 0.8, .beta2 = 0.9, .weight_decay = 0.5});
    }
    Result<double> validation_loss() override { return 0.0; }
    std::uint64_t step() const override { return step_; }
    void set_step(std::uint64_t step) override { step_ = step; }

  private:
    std::uint64_t member_;
    std::uint64_t tokens_;
    std::unique_ptr<kernels::Ops> ops_ = kernels::make_cpu_ops(1);
    kernels::Layout layout_;
    kernels::FlatBuffer parameters_;
    std::uint64_t step_ = 0;
};

TEST(DataParallel, Is_AdamW_on_the_clipped_token_weighted_mean) {
    const std::uint64_t tokens[] = {4, 4, 4, 1};
    RunConfig config = parallel_run();
    config.optimizer.clip_norm = 3;
    Cluster cluster(config, 4, [&](std::size_t i) { return std::make_unique<GivenGradient>(i, tokens[i]); });
    ASSERT_TRUE(cluster.run_all());

    const kernels::Layout& layout = cluster[0].worker->layout();
    std::vector<double> x(layout.size()), m(layout.size()), v(layout.size()), g(layout.size());
    for (std::uint64_t step = 0; step < 40; ++step) {
        double squares = 0;
        std::ranges::fill(g, 0);
        for (const auto& slot : layout.slots()) {
            for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
                for (std::size_t k = 0; k < 4; ++k)
                    g[i] += double(tokens[k]) / 13 * GivenGradient::value(k, step, i);
                squares += g[i] * g[i];
            }
        }
        const double scale = std::min(1.0, 3 / std::sqrt(squares));
        EXPECT_LT(scale, 1);
        const auto t = static_cast<double>(step + 1);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double gradient = scale * g[i];
            m[i] = 0.8 * m[i] + 0.2 * gradient;
            v[i] = 0.9 * v[i] + 0.1 * gradient * gradient;
            const bool decays = i < layout.slots()[1].offset;
            x[i] *= decays ? 1 - 0.01 * 0.5 : 1;
            x[i] -= 0.01 * m[i] / (1 - std::pow(0.8, t)) / (std::sqrt(v[i] / (1 - std::pow(0.9, t))) + 1e-8);
        }
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
        for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(cluster.parameters(k)[i], x[i], 2e-5);
    }
}

TEST(DataParallel, Each_member_keeps_its_part_of_the_optimizer_state) {
    Cluster cluster(parallel_run(), 3, noisy());
    std::size_t first_moments = 0;
    std::set<std::string> shards;
    for (std::size_t m = 0; m < 3; ++m) {
        cluster[m].after = [&](Session& session) {
            for (const auto& vector : session.algorithm().state()) {
                if (!vector.name.starts_with("shard.")) continue;
                EXPECT_TRUE(shards.insert(vector.name).second) << vector.name << " is kept twice";
                if (vector.name.ends_with(".m")) first_moments += vector.values.size();
            }
        };
    }
    ASSERT_TRUE(cluster.run_all());
    EXPECT_EQ(first_moments, 64U);
    EXPECT_EQ(shards.size() % 2, 0U) << "m and v each";
}

TEST(DataParallel, A_step_sends_gradients_once_and_parameters_once) {
    RunConfig config = parallel_run();
    config.codec.name = "bf16";
    Cluster cluster(config, 4, [](std::size_t) {
        return std::make_unique<QuadraticWorker>(QuadraticWorker::Options{.parameters = 16 * 120});
    });
    ASSERT_TRUE(cluster.run_all());
    // (2 + 4) (M - 1) / M bytes a parameter and step.
    for (const RoundReport& report : cluster[1].record.rounds)
        EXPECT_EQ(report.average.bytes_sent, 5 * 6 * 16 * 120 * 3 / 4U);
}

TEST(DataParallel, Resumed_equals_no_interruption_bit_for_bit) {
    Cluster whole(parallel_run(), 3, noisy());
    ASSERT_TRUE(whole.run_all());
    for (const std::uint64_t stop_step : {3U, 15U, 17U}) {
        Cluster first(parallel_run(), 3, noisy());
        std::vector<SavedMember> saved(3);
        for (std::size_t m = 0; m < 3; ++m) {
            first[m].record.at_step = [&, m](std::uint64_t step) {
                if (step == stop_step) first[m].stop.request();
            };
            first[m].after = [&, m](Session& session) {
                saved[m] = SavedMember(session.algorithm(), *first[m].worker);
            };
        }
        ASSERT_TRUE(first.run_all());
        Cluster second(parallel_run(), 3, noisy());
        for (std::size_t m = 0; m < 3; ++m)
            second[m].before = [&, m](Session& session) {
                saved[m].restore(session.algorithm(), *second[m].worker);
            };
        ASSERT_TRUE(second.run_all());
        for (std::size_t m = 0; m < 3; ++m) {
            ASSERT_TRUE(second[m].status->ok()) << second[m].status->error().message;
            EXPECT_EQ(copy(second.parameters(m)), copy(whole.parameters(m))) << "stopped at " << stop_step;
        }
    }
}

TEST(DataParallel, A_late_joiner_is_taken_into_the_next_step) {
    RunConfig config = parallel_run();
    config.run.rounds = 40;
    Cluster cluster(config, 3, noisy());
    cluster[2].mode = JoinMode::late;
    cluster.start(0);
    cluster.start(1);
    cluster.network().announce_members_to(0, {0, 1}, "start");
    cluster.network().announce_members_to(1, {0, 1}, "start");
    cluster.network().at(1, [&] {
        cluster.start(2);
        cluster.network().announce_members("2 joins");
    });
    ASSERT_TRUE(cluster.network().run());
    for (std::size_t m = 0; m < 3; ++m) {
        ASSERT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
        EXPECT_EQ(copy(cluster.parameters(m)), copy(cluster.parameters(0)));
    }
    EXPECT_EQ(cluster[0].record.rounds.back().average.members, 3U);
    EXPECT_LT(cluster.network().now(), 40) << "nobody waited long for it";
}

TEST(DataParallel, A_third_of_the_messages_lost_changes_no_bit) {
    Cluster quiet(parallel_run(), 3, noisy());
    ASSERT_TRUE(quiet.run_all());
    Cluster lossy(parallel_run(), 3, noisy());
    Rng rng(4);
    lossy.network().set_hook([&](const fakes::MemoryNetwork::Departure&) {
        return rng.uniform() < 0.3 ? fakes::MemoryNetwork::Fate{} : fakes::MemoryNetwork::Fate{0.0};
    });
    ASSERT_TRUE(lossy.run_all());
    for (std::size_t m = 0; m < 3; ++m) {
        ASSERT_TRUE(lossy[m].status->ok()) << lossy[m].status->error().message;
        EXPECT_EQ(copy(lossy.parameters(m)), copy(quiet.parameters(m)));
    }
}

TEST(DataParallel, What_cannot_work_is_refused_with_both_keys) {
    const auto refused = [](const std::function<void(RunConfig&)>& change) {
        RunConfig config = parallel_run();
        EXPECT_TRUE(validate(config).ok());
        change(config);
        const Status status = validate(config);
        return status.ok() ? std::string("accepted") : status.error().message;
    };
    const std::string gossip = refused([](RunConfig& config) { config.averaging.name = "push_sum"; });
    EXPECT_THAT(gossip, HasSubstr("averaging.name = push_sum"));
    EXPECT_THAT(gossip, HasSubstr("algorithm.name = data_parallel"));
    const std::string matrix = refused([](RunConfig& config) { config.optimizer.name = "muon"; });
    EXPECT_THAT(matrix, HasSubstr("optimizer.name = muon"));
    EXPECT_THAT(matrix, HasSubstr("algorithm.name = data_parallel"));
    EXPECT_THAT(matrix, HasSubstr("adamw"));
    const std::string packed = refused([](RunConfig& config) { config.optimizer.state = "int8"; });
    EXPECT_THAT(packed, HasSubstr("optimizer.state = int8"));
    EXPECT_THAT(packed, HasSubstr("algorithm.name = data_parallel"));
    const std::string scaled = refused([](RunConfig& config) { config.model.parameterization = "mup"; });
    EXPECT_THAT(scaled, HasSubstr("model.parameterization = mup"));
    EXPECT_THAT(scaled, HasSubstr("algorithm.name = data_parallel"));
    EXPECT_THAT(refused([](RunConfig& config) { config.algorithm.outer_momentum = 0.5; }),
                HasSubstr("algorithm.outer_momentum"));
}

// Every optimizer that claims to be element-wise gives the same bits in pieces.
TEST(ShardLayout, Pieces_of_an_elementwise_optimizer_step_as_the_whole) {
    kernels::Layout layout;
    layout.add("matrix", {9, 11});
    layout.add("vector", {40});
    layout.add("other", {5, 5});
    const auto ops = kernels::make_cpu_ops(1);
    for (const auto& entry : model::optimizers()) {
        if (!entry.elementwise) continue;
        const auto whole = entry.make(*ops, layout, entry.defaults);
        const std::size_t cuts[] = {0, 16, 112, 144, layout.size()};
        std::vector<std::unique_ptr<model::Optimizer>> pieces;
        for (std::size_t k = 0; k + 1 < std::size(cuts); ++k)
            pieces.push_back(entry.make(*ops, shard_layout(layout, {cuts[k], cuts[k + 1]}), entry.defaults));
        kernels::FlatBuffer x(layout.size()), y(layout.size()), g(layout.size());
        for (std::int64_t step = 1; step <= 5; ++step) {
            for (const auto& slot : layout.slots()) {
                for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i)
                    g.data()[i] =
                        static_cast<float>(Rng(3).split("g", i).split("s", std::uint64_t(step)).normal());
            }
            whole->step({x.span(), g.span(), 0.01, 0.7, step});
            for (std::size_t k = 0; k < pieces.size(); ++k) {
                const std::size_t size = cuts[k + 1] - cuts[k];
                pieces[k]->step(
                    {y.span().subspan(cuts[k], size), g.span().subspan(cuts[k], size), 0.01, 0.7, step});
            }
            EXPECT_EQ(copy(x.span()), copy(y.span())) << entry.name << " step " << step;
        }
    }
}

}  // namespace
}  // namespace Atoll::federation

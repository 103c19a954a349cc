// What MuLoCo, SparseLoCo, NoLoCo, DeMo and SPARTA have in common: settings of their papers, restarts,
// joiners. Their mathematics have files of their own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/options.h"
#include "tests/federation/member_cluster.h"
#include "tests/federation/saved_member.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::copy;
using federation::testing::QuadraticWorker;
using federation::testing::SavedMember;
using federation::testing::small_run;
using ::testing::AllOf;
using ::testing::HasSubstr;

RunConfig configured(const std::string& toml) {
    RunConfig config;
    Options options;
    bind(options, config);
    const Status loaded = options.load_toml(toml, "run.toml");
    EXPECT_TRUE(loaded.ok()) << loaded.error().message;
    const Status valid = validate(config);
    EXPECT_TRUE(valid.ok()) << valid.error().message;
    return config;
}

TEST(Settings, Of_muloco_are_its_papers) {
    const RunConfig config = configured("algorithm.name = \"muloco\"");
    EXPECT_EQ(config.optimizer.name, "muon");
    EXPECT_EQ(config.optimizer.beta1, 0.8);  // the optimizer's own defaults come with it
    EXPECT_EQ(config.algorithm.inner_steps, 30);
    EXPECT_EQ(config.algorithm.outer_optimizer, "nesterov");
    EXPECT_EQ(config.algorithm.outer_learning_rate, 0.7);
    EXPECT_EQ(config.algorithm.outer_momentum, 0.6);
}

TEST(Settings, Of_sparseloco_are_its_papers) {
    const RunConfig config = configured("algorithm.name = \"sparseloco\"");
    EXPECT_EQ(config.algorithm.inner_steps, 30);
    EXPECT_EQ(config.algorithm.outer_optimizer, "sgd");
    EXPECT_EQ(config.algorithm.outer_learning_rate, 1);
    EXPECT_EQ(config.algorithm.outer_momentum, 0);
    EXPECT_EQ(config.codec.name, "topk");
    EXPECT_EQ(config.codec.feedback_decay, 0.95);
    EXPECT_EQ(config.topology.name, "full");
}

TEST(Settings, Other_keys_of_the_file_have_the_last_word) {
    const RunConfig config = configured(
        "[algorithm]\nname = \"muloco\"\ninner_steps = 100\n[optimizer]\nname = \"d_muon\"\n"
        "learning_rate = 0.002\n[codec]\nname = \"e3m0\"\n");
    EXPECT_EQ(config.algorithm.inner_steps, 100);
    EXPECT_EQ(config.optimizer.name, "d_muon");
    EXPECT_EQ(config.optimizer.learning_rate, 0.002);
    EXPECT_EQ(config.codec.name, "e3m0");
    EXPECT_EQ(config.algorithm.outer_momentum, 0.6);
}

TEST(Settings, Of_one_algorithm_go_when_another_is_chosen) {
    RunConfig config;
    Options options;
    bind(options, config);
    ASSERT_TRUE(options.set("algorithm.name", "sparseloco", "file").ok());
    ASSERT_TRUE(options.set("algorithm.outer_learning_rate", "0.65", "file").ok());
    ASSERT_TRUE(options.set("algorithm.name", "diloco", "--set").ok());
    EXPECT_EQ(config.codec.name, RunConfig{}.codec.name);
    EXPECT_EQ(config.codec.feedback_decay, 1);
    EXPECT_EQ(config.algorithm.outer_optimizer, "nesterov");
    EXPECT_EQ(config.algorithm.outer_learning_rate, 0.65);  // somebody's choice
    EXPECT_EQ(options.find("codec.name")->origin, "default");
    const auto again = run_config_from_text(to_text(configured("algorithm.name = \"noloco_cascade\"")));
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(again->topology.name, "null_cascade");
}

TEST(Settings, That_contradict_each_other_are_refused_with_both_keys) {
    const auto refusal = [](const std::string& name, const std::function<void(RunConfig&)>& change) {
        RunConfig config = configured("algorithm.name = \"" + name + "\"");
        change(config);
        const Status status = validate(config);
        return status.ok() ? std::string() : status.error().message;
    };
    EXPECT_THAT(refusal("muloco", [](RunConfig& c) { c.optimizer.name = "adamw"; }),
                AllOf(HasSubstr("algorithm.name = muloco"), HasSubstr("optimizer.name = adamw")));
    EXPECT_THAT(refusal("sparseloco", [](RunConfig& c) { c.codec.name = "int8_block"; }),
                AllOf(HasSubstr("algorithm.name = sparseloco"), HasSubstr("codec.name = int8_block")));
    EXPECT_THAT(refusal("sparseloco", [](RunConfig& c) { c.algorithm.outer_optimizer = "nesterov"; }),
                AllOf(HasSubstr("sparseloco"), HasSubstr("algorithm.outer_optimizer = nesterov")));
    EXPECT_THAT(refusal("sparseloco", [](RunConfig& c) { c.algorithm.outer_momentum = 0.5; }),
                HasSubstr("algorithm.outer_momentum = 0.5"));
    EXPECT_THAT(refusal("noloco", [](RunConfig& c) { c.algorithm.outer_momentum = 0.9; }),
                AllOf(HasSubstr("algorithm.consensus_rate = 0.7"),
                      HasSubstr("algorithm.outer_momentum = 0.9"), HasSubstr("less than 0.38")));
    EXPECT_THAT(
        refusal("noloco_cascade", [](RunConfig& c) { c.algorithm.consensus_rate = 0.8; }),
        AllOf(HasSubstr("algorithm.consensus_rate = 0.8"), HasSubstr("topology.name = null_cascade")));
    EXPECT_THAT(refusal("noloco_cascade", [](RunConfig& c) { c.algorithm.anchor_slices = 4; }),
                AllOf(HasSubstr("algorithm.anchor_slices = 4"), HasSubstr("topology.name = null_cascade")));
    EXPECT_THAT(refusal("noloco", [](RunConfig& c) { c.algorithm.anchor_slices = 0; }),
                AllOf(HasSubstr("noloco"), HasSubstr("algorithm.anchor_slices = 0")));
    EXPECT_THAT(refusal("noloco", [](RunConfig& c) { c.algorithm.outer_optimizer = "sgd"; }),
                AllOf(HasSubstr("noloco"), HasSubstr("algorithm.outer_optimizer = sgd")));
    EXPECT_THAT(refusal("noloco", [](RunConfig& c) { c.algorithm.outer_learning_rate = 0; }),
                AllOf(HasSubstr("noloco"), HasSubstr("algorithm.outer_learning_rate = 0")));
    EXPECT_THAT(refusal("noloco", [](RunConfig& c) { c.algorithm.dynamic_steps = true; }),
                AllOf(HasSubstr("algorithm.dynamic_steps = true"), HasSubstr("algorithm.name = noloco")));
    EXPECT_EQ(refusal("muloco", [](RunConfig& c) { c.algorithm.dynamic_steps = true; }), "");
    EXPECT_THAT(refusal("demo", [](RunConfig& c) { c.averaging.stages = 2; }),
                AllOf(HasSubstr("algorithm.name = demo"), HasSubstr("averaging.stages = 2")));
    EXPECT_THAT(refusal("demo", [](RunConfig& c) { c.algorithm.inner_steps = 5; }),
                AllOf(HasSubstr("algorithm.name = demo"), HasSubstr("algorithm.inner_steps = 5")));
    EXPECT_THAT(refusal("demo", [](RunConfig& c) { c.topology.name = "ring"; }),
                AllOf(HasSubstr("algorithm.name = demo"), HasSubstr("topology.name = ring")));
    EXPECT_THAT(refusal("demo", [](RunConfig& c) { c.codec.name = "none"; }),
                AllOf(HasSubstr("algorithm.name = demo"), HasSubstr("codec.name = none")));
    EXPECT_THAT(refusal("demo", [](RunConfig& c) { c.codec.feedback_decay = 0.9; }),
                AllOf(HasSubstr("codec.feedback_decay = 0.9"), HasSubstr("algorithm.momentum_decay")));
    EXPECT_THAT(refusal("demo", [](RunConfig& c) { c.optimizer.name = "adamw"; }),
                AllOf(HasSubstr("algorithm.name = demo"), HasSubstr("optimizer.name = adamw")));
    EXPECT_THAT(refusal("sparta", [](RunConfig& c) { c.codec.name = "topk"; }),
                AllOf(HasSubstr("algorithm.name = sparta"), HasSubstr("codec.name = topk")));
    EXPECT_THAT(refusal("sparta", [](RunConfig& c) { c.algorithm.outer_learning_rate = 0.1; }),
                HasSubstr("algorithm.name = sparta takes no outer step"));
    EXPECT_THAT(refusal("muloco", [](RunConfig& c) { c.algorithm.momentum_decay = 0.9; }),
                AllOf(HasSubstr("algorithm.momentum_decay = 0.9"), HasSubstr("algorithm.name = muloco")));
    EXPECT_THAT(refusal("demo", [](RunConfig& c) { c.algorithm.consensus_rate = 0.9; }),
                AllOf(HasSubstr("algorithm.consensus_rate = 0.9"), HasSubstr("algorithm.name = demo")));
    EXPECT_THAT(refusal("diloco", [](RunConfig& c) { c.algorithm.averaged_fraction = 0.1; }),
                AllOf(HasSubstr("algorithm.averaged_fraction = 0.1"), HasSubstr("algorithm.name = diloco")));
}

// In virtual time, on quadratics, with the settings of the entry where the problem's size does not forbid it.
class LowCommunication : public ::testing::TestWithParam<const char*> {
  protected:
    static bool every_step() {
        return std::string(GetParam()) == "demo" || std::string(GetParam()) == "sparta";
    }
    static RunConfig config(std::int64_t steps) {
        RunConfig config = configured(std::string("algorithm.name = \"") + GetParam() + "\"");
        config.schedule.warmup_steps = 0;
        config.averaging.deadline_seconds = 2;
        config.algorithm.inner_steps = every_step() ? 1 : 5;
        config.run.rounds = steps / config.algorithm.inner_steps;
        config.codec.density = config.codec.name == "topk" || config.codec.name == "dct_topk" ? 0.25 : 0;
        if (std::string(GetParam()) == "sparta") config.algorithm.averaged_fraction = 0.1;
        return config;
    }
    static Cluster::MakeWorker noisy() {
        return [](std::size_t i) {
            return std::make_unique<QuadraticWorker>(
                QuadraticWorker::Options{.learning_rate = std::string(GetParam()) == "demo" ? 0.01 : 0.05,
                                         .noise = 0.3,
                                         .noise_seed = 100 + i});
        };
    }
    // Loss of the mean of the members that finished.
    static double final_loss(Cluster& cluster) {
        QuadraticWorker mean({});
        double count = 0;
        for (std::size_t m = 0; m < cluster.size(); ++m) {
            if (!cluster[m].status || !cluster[m].status->ok()) continue;
            for (std::size_t i = 0; i < 64; ++i) mean.parameters()[i] += cluster.parameters(m)[i];
            count += 1;
        }
        for (float& x : mean.parameters()) x /= static_cast<float>(count);
        return mean.validation_loss().value();
    }
};

TEST_P(LowCommunication, Resumed_in_mid_round_equals_no_interruption_bit_for_bit) {
    constexpr std::uint64_t kStop = 17;
    const RunConfig run = config(40);
    Cluster whole(run, 3, noisy());
    ASSERT_TRUE(whole.run_all());
    Cluster first(run, 3, noisy());
    std::vector<SavedMember> saved(3);
    for (std::size_t m = 0; m < 3; ++m) {
        // Where a round is one step, a stop comes between the exchange and the next step.
        const auto stop = [&, m] { first[m].stop.request(); };
        if (every_step()) {
            first[m].record.at_round = [&, stop](const RoundReport& report, Algorithm&) {
                if (report.step == kStop) stop();
            };
        } else {
            first[m].record.at_step = [&, stop](std::uint64_t step) {
                if (step == kStop) stop();
            };
        }
        first[m].after = [&, m](Session& session) {
            saved[m] = SavedMember(session.algorithm(), *first[m].worker);
        };
    }
    ASSERT_TRUE(first.run_all());
    Cluster second(run, 3, noisy());
    for (std::size_t m = 0; m < 3; ++m) {
        EXPECT_EQ(saved[m].step(), kStop);
        second[m].before = [&, m](Session& session) {
            saved[m].restore(session.algorithm(), *second[m].worker);
        };
    }
    ASSERT_TRUE(second.run_all());
    for (std::size_t m = 0; m < 3; ++m) {
        ASSERT_TRUE(second[m].status->ok()) << second[m].status->error().message;
        EXPECT_EQ(copy(second.parameters(m)), copy(whole.parameters(m)));
    }
}

TEST_P(LowCommunication, A_late_joiner_adopts_a_peers_state_and_takes_part) {
    RunConfig run = config(200);
    Cluster cluster(run, 4, noisy());
    cluster[3].mode = JoinMode::late;
    for (const std::size_t m : {0UL, 1UL, 2UL}) {
        cluster.start(m);
        cluster.network().announce_members_to(m, {0, 1, 2}, "start");
    }
    cluster.network().at(0.6, [&] {
        cluster.start(3);
        cluster.network().announce_members("member 3 joined");
    });
    ASSERT_TRUE(cluster.network().run());
    for (std::size_t m = 0; m < 4; ++m)
        ASSERT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
    ASSERT_FALSE(cluster[3].record.rounds.empty());
    EXPECT_GT(cluster[3].record.rounds.front().step, 50U);
    EXPECT_EQ(cluster[3].worker->step(), 200U);
    const RoundReport& last = cluster[0].record.rounds.back();
    EXPECT_EQ(last.average.members, 4U);
    EXPECT_LT(cluster[3].worker->validation_loss().value(), 2 * final_loss(cluster) + 0.5);
}

INSTANTIATE_TEST_SUITE_P(Algorithms, LowCommunication,
                         ::testing::Values("muloco", "sparseloco", "noloco", "noloco_cascade", "demo",
                                           "sparta"),
                         [](const auto& entry) { return std::string(entry.param); });

}  // namespace
}  // namespace Atoll::federation

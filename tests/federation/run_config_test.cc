#include "federation/run_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gossip/topology/topology.h"

namespace Atoll::federation {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string failure(const RunConfig& config) {
    const Status status = validate(config);
    return status.ok() ? "" : status.error().message;
}

TEST(RunConfig, Default_is_valid_and_starts_from_the_tiny_preset) {
    const RunConfig config;
    EXPECT_EQ(failure(config), "");
    EXPECT_EQ(config.model.width, model::model_preset("tiny")->width);
}

TEST(RunConfig, Text_is_a_fixed_point) {
    RunConfig config;
    Options options;
    bind(options, config);
    ASSERT_TRUE(options.set("model.preset", "gpt2-124m", "test").ok());
    ASSERT_TRUE(options.set("model.layers", "3", "test").ok());  // overrides the preset
    ASSERT_TRUE(options.set("run.name", "\"a \\\"b\\\"\"", "test").ok());
    ASSERT_TRUE(options.set("optimizer.learning_rate", "0.00123456789012345", "test").ok());
    const std::string text = to_text(config);
    const Result<RunConfig> again = run_config_from_text(text);
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(to_text(*again), text);
    EXPECT_EQ(again->model.layers, 3);
    EXPECT_EQ(again->model.vocabulary, 50257);
    EXPECT_EQ(again->run.name, "a \"b\"");
    EXPECT_EQ(again->optimizer.learning_rate, config.optimizer.learning_rate);
}

TEST(RunConfig, Every_key_changes_the_run_id) {
    const Hash id = run_id(RunConfig{});
    EXPECT_EQ(run_id(RunConfig{}), id);
    RunConfig config;
    Options options;
    bind(options, config);
    for (const auto& key : options.keys()) {
        EXPECT_EQ(key.scope, Options::Scope::shared) << key.name;
        EXPECT_FALSE(key.help.empty()) << key.name;
        if (key.type == "integer") {
            config = RunConfig{};
            const std::string other = key.get() == "2" ? "3" : "2";
            ASSERT_TRUE(options.set(key.name, other, "test").ok()) << key.name;
            EXPECT_NE(run_id(config), id) << key.name;
        }
    }
}

TEST(RunConfig, Preset_fills_the_model_table_and_keys_of_the_same_file_override_it) {
    RunConfig config;
    Options options;
    bind(options, config);
    ASSERT_TRUE(
        options.load_toml("[model]\nwidth = 256\nhead_dim = 64\npreset = \"tiny\"\n", "run.toml").ok());
    EXPECT_EQ(config.model.width, 256);
    ASSERT_TRUE(options.set("model.preset", "gpt2-124m", "--set").ok());
    EXPECT_EQ(config.model.width, 768);
    EXPECT_EQ(options.find("model.layers")->origin, "model.preset = \"gpt2-124m\"");
}

TEST(RunConfig, Unknown_names_give_the_nearest) {
    RunConfig config;
    config.algorithm.name = "dilocko";
    EXPECT_THAT(failure(config),
                AllOf(HasSubstr("algorithm.name = dilocko"), HasSubstr("did you mean diloco?")));
    config = {};
    config.codec.name = "int8_blok";
    EXPECT_THAT(failure(config), AllOf(HasSubstr("codec.name"), HasSubstr("did you mean int8_block?")));
    config = {};
    config.topology.name = "rings";
    EXPECT_THAT(failure(config), HasSubstr("did you mean ring?"));
    config = {};
    config.averaging.name = "pushsum";
    EXPECT_THAT(failure(config), HasSubstr("did you mean push_sum?"));
    config = {};
    config.algorithm.outer_optimizer = "nestrov";
    EXPECT_THAT(failure(config), HasSubstr("did you mean nesterov?"));
}

TEST(RunConfig, Contradictions_name_both_keys) {
    RunConfig config;
    config.run.rounds = 2;
    config.algorithm.inner_steps = 10;
    EXPECT_THAT(failure(config), AllOf(HasSubstr("schedule.warmup_steps = 20"), HasSubstr("run.rounds = 2")));
    config = {};
    config.schedule.name = "wsd";
    config.schedule.steps = 100;
    config.schedule.decay_fraction = 0.9;
    EXPECT_THAT(failure(config), AllOf(HasSubstr("schedule.decay_fraction = 0.9"), HasSubstr("at most 0.8")));
    config = {};
    config.data.tokenizer = "bpe:4096";
    EXPECT_THAT(failure(config), AllOf(HasSubstr("model.vocabulary = 256"), HasSubstr("bpe:4096")));
    config = {};
    config.data.tokenizer = "bpe:many";
    EXPECT_THAT(failure(config), HasSubstr("bpe:N"));
    config = {};
    config.algorithm.outer_optimizer = "sgd";
    EXPECT_THAT(failure(config), HasSubstr("algorithm.outer_momentum = 0.9"));
    config = {};
    config.topology.degree = 3;
    EXPECT_THAT(failure(config), AllOf(HasSubstr("topology.degree = 3"), HasSubstr("one_peer_exponential")));
    config.topology.name = "null_cascade";
    EXPECT_TRUE(validate(config).ok());
    config.topology.degree = 1;
    EXPECT_EQ(failure(config),
              "topology.degree = 1 does not suit topology.name = null_cascade: expected 2 to 63");
    config = {};
    config.topology.interval = 4;
    EXPECT_THAT(failure(config), AllOf(HasSubstr("topology.interval = 4"), HasSubstr("hierarchical")));
    config = {};
    config.topology.order = "paper";
    EXPECT_THAT(failure(config), AllOf(HasSubstr("topology.order = paper"), HasSubstr("null_cascade")));
    config = {};
    config.topology.rounding = "floor";
    EXPECT_THAT(failure(config),
                AllOf(HasSubstr("topology.rounding = floor"), HasSubstr("k_peer_exponential")));
    config = {};
    config.optimizer.accumulation = 3;
    EXPECT_THAT(failure(config), HasSubstr("optimizer.accumulation = 3"));
    config = {};
    config.model.parameterization = "completep";
    EXPECT_EQ(failure(config), "");
    config.optimizer.name = "soap";
    EXPECT_THAT(failure(config),
                AllOf(HasSubstr("model.parameterization = completep"), HasSubstr("optimizer.name = soap")));
    config = {};
    config.optimizer.name = "prodigy";
    config.optimizer.state = "bf16";
    EXPECT_THAT(failure(config),
                AllOf(HasSubstr("optimizer.state = bf16"), HasSubstr("optimizer.name = prodigy")));
    config = {};
    config.schedule.search = "adalrs";
    EXPECT_EQ(failure(config), "");
    config.schedule.search_begin = 0.5;
    EXPECT_THAT(failure(config), AllOf(HasSubstr("search_begin = 0.5"), HasSubstr("search_end = 0.4")));
    config.algorithm.dynamic_steps = true;
    EXPECT_THAT(failure(config),
                AllOf(HasSubstr("schedule.search = adalrs"), HasSubstr("algorithm.dynamic_steps = true")));
    config = {};
    config.schedule.search_window = 30;
    EXPECT_THAT(failure(config), AllOf(HasSubstr("search_window = 30"), HasSubstr("schedule.search = none")));
    config = {};
    config.run.initial_model = "grown";
    EXPECT_THAT(failure(config), AllOf(HasSubstr("run.initial_model"), HasSubstr("64 hexadecimal digits")));
    config = {};
    config.model.heads = 3;
    EXPECT_THAT(failure(config), HasSubstr("model."));
}

TEST(RunConfig, Averaging_keys_that_nothing_reads_are_refused) {
    RunConfig config;
    config.averaging.trim_fraction = 0.3;
    EXPECT_EQ(
        failure(config),
        "averaging.trim_fraction = 0.3 but averaging.name = push_sum does not read it: leave it out, or "
        "choose trimmed_mean");
    config = {};
    config.averaging.clip_radius = 2;
    EXPECT_THAT(failure(config), AllOf(HasSubstr("averaging.clip_radius = 2"), HasSubstr("centered_clip")));
    config = {};
    config.averaging.tolerance = 0.01;
    EXPECT_TRUE(validate(config).ok());
    config.averaging.name = "all_reduce";
    EXPECT_THAT(failure(config), AllOf(HasSubstr("averaging.tolerance = 0.01"), HasSubstr("push_sum")));
    config.averaging.name = "push_sum";
    config.averaging.tolerance = 1e-3;
    EXPECT_THAT(failure(config), AllOf(HasSubstr("averaging.tolerance = 0.001"),
                                       HasSubstr("codec.name = int8_block"), HasSubstr("at least 0.004")));
}

TEST(RunConfig, A_tolerance_is_for_members_that_mix) {
    RunConfig config;
    config.averaging.tolerance = 0.01;
    config.algorithm.name = "async_diloco";
    EXPECT_THAT(failure(config),
                AllOf(HasSubstr("averaging.tolerance = 0.01"), HasSubstr("algorithm.name = async_diloco")));
}

TEST(RunConfig, Robust_averaging_needs_a_majority_to_hear) {
    for (const auto& topology : gossip::topologies()) {
        RunConfig config;
        config.averaging.name = "geometric_median";
        config.topology.name = std::string(topology.name);
        config.topology.degree = std::max<std::int64_t>(topology.degree_min, 1);
        const bool single = topology.name == "one_peer_exponential" || topology.name == "null_cascade" ||
                            topology.name == "k_peer_exponential" || topology.name == "base_k" ||
                            topology.name == "random_match" || topology.name == "hypercube" ||
                            topology.name == "hierarchical";
        EXPECT_EQ(validate(config).ok(), !single) << topology.name;
        if (single) {
            EXPECT_THAT(failure(config), AllOf(HasSubstr("averaging.name = geometric_median"),
                                               HasSubstr("topology.name = " + config.topology.name)));
        }
    }
    RunConfig config;
    config.averaging.name = "trimmed_mean";
    config.topology.name = "full";
    EXPECT_TRUE(validate(config).ok());
    config.codec.name = "topk";
    EXPECT_THAT(failure(config),
                AllOf(HasSubstr("averaging.name = trimmed_mean"), HasSubstr("codec.name = topk")));
    config.averaging.name = "centered_clip";
    EXPECT_TRUE(validate(config).ok());
    config = {};
    config.algorithm.name = "gradient_tracking";
    config.optimizer.name = "sgd";
    config.optimizer.beta1 = 0;
    config.topology.name = "full";
    EXPECT_TRUE(validate(config).ok()) << validate(config).error().message;
    config.averaging.name = "trimmed_mean";
    EXPECT_THAT(failure(config), AllOf(HasSubstr("averaging.name = trimmed_mean"),
                                       HasSubstr("algorithm.name = gradient_tracking")));
}

TEST(RunConfig, Text_from_elsewhere_is_checked) {
    const std::string text = to_text(RunConfig{});
    const auto unknown = run_config_from_text(text + "run.colour = 1\n");
    ASSERT_FALSE(unknown.ok());
    EXPECT_THAT(unknown.error().message, HasSubstr("run.colour"));
    const auto missing = run_config_from_text(text.substr(text.find('\n') + 1));
    ASSERT_FALSE(missing.ok());
    EXPECT_THAT(missing.error().message, HasSubstr(text.substr(0, text.find(' ')) + " is missing"));
    EXPECT_FALSE(run_config_from_text("run = [").ok());
}

}  // namespace
}  // namespace Atoll::federation

// Where a configuration value comes from, and what happens to wrong ones.
#include "node/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "base/files.h"

namespace Atoll::node {
namespace {

using testing::HasSubstr;

struct ConfigTest : testing::Test {
    std::filesystem::path file =
        std::filesystem::path(testing::TempDir()) / ("atoll_config_" + std::to_string(::getpid()) + ".toml");
    GlobalFlags flags;
    std::vector<Override> overrides;
    std::map<std::string, std::string> environment;

    ~ConfigTest() override { std::filesystem::remove(file); }

    Result<std::unique_ptr<Config>> load(const std::string& text) {
        EXPECT_TRUE(write_file(file, std::string_view(text)).ok());
        return load_config(flags, file, overrides, [this](const char* name) {
            const auto it = environment.find(name);
            return it == environment.end() ? nullptr : it->second.c_str();
        });
    }
};

TEST_F(ConfigTest, Each_layer_overrides_the_ones_below) {
    const auto defaults = load("");
    ASSERT_TRUE(defaults.ok()) << defaults.error().message;
    EXPECT_EQ((*defaults)->options.find("run.seed")->origin, "default");

    const std::string text = "[run]\nseed = 2\n[local]\nthreads = 2\n[optimizer]\nlearning_rate = 0.002\n";
    EXPECT_EQ((*load(text))->run.run.seed, 2);
    environment["ATOLL_RUN_SEED"] = "3";
    EXPECT_EQ((*load(text))->run.run.seed, 3);
    flags.assignments = {"run.seed=4"};
    EXPECT_EQ((*load(text))->run.run.seed, 4);
    flags.seed = 5;
    const auto config = load(text);
    EXPECT_EQ((*config)->run.run.seed, 5);
    EXPECT_EQ((*config)->options.find("run.seed")->origin, "--seed");
    overrides = {{"run.seed", "6", "--steps"}};
    EXPECT_EQ((*load(text))->run.run.seed, 6);
    EXPECT_EQ((*config)->local.threads, 2);
    EXPECT_THAT((*config)->options.find("local.threads")->origin, HasSubstr("line 4"));
}

TEST_F(ConfigTest, Flags_for_threads_and_device_are_local_keys) {
    flags.threads = 3;
    flags.device = "cpu";
    const auto config = load("");
    ASSERT_TRUE(config.ok());
    EXPECT_EQ(compute_threads((*config)->local), 3);
    EXPECT_EQ((*config)->local.device, "cpu");
    Config plain;
    EXPECT_EQ(federation::run_id((*config)->run), federation::run_id(plain.run))
        << "local keys are no part of the run id";
}

TEST_F(ConfigTest, Wrong_input_names_key_value_and_place) {
    const auto misspelt = load("[optimizer]\nlearning_rat = 0.1\n");
    ASSERT_FALSE(misspelt.ok());
    EXPECT_EQ(misspelt.error().code, ErrorCode::invalid);
    EXPECT_THAT(misspelt.error().message, HasSubstr("did you mean optimizer.learning_rate?"));
    EXPECT_THAT(misspelt.error().message, HasSubstr("line 2"));

    const auto mistyped = load("[local]\nthreads = \"two\"\n");
    ASSERT_FALSE(mistyped.ok());
    EXPECT_THAT(mistyped.error().message, HasSubstr("local.threads"));

    flags.assignments = {"codec.name=int7"};
    const auto unknown = load("");
    ASSERT_FALSE(unknown.ok());
    EXPECT_THAT(unknown.error().message, HasSubstr("codec.name"));
    EXPECT_EQ(exit_code(unknown.error().code), 2);

    flags.assignments = {"no equals sign"};
    EXPECT_FALSE(load("").ok());
    flags.assignments.clear();
    EXPECT_FALSE(load_config(flags, "/nonexistent/run.toml", {}, [](const char*) -> const char* {
                     return nullptr;
                 }).ok());
}

TEST_F(ConfigTest, Every_key_has_help_and_its_default_is_allowed) {
    Config config;
    for (const auto& key : config.options.keys()) {
        EXPECT_FALSE(key.help.empty()) << key.name;
        EXPECT_NE(key.name.find('.'), std::string::npos) << key.name;
        const std::string value = key.default_value;
        EXPECT_TRUE(key.set(value).ok()) << key.name << " = " << value;
    }
}

}  // namespace
}  // namespace Atoll::node

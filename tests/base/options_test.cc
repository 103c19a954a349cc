#include "base/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace Atoll {
namespace {

using testing::HasSubstr;

struct Settings {
    double rate = 0.1;
    std::int64_t steps = 10;
    bool fresh = false;
    std::string name = "a";
    std::string kind = "red";
    std::vector<std::string> peers;
};

struct OptionsTest : testing::Test {
    Settings settings;
    Options options;
    OptionsTest() {
        options.add(Options::Scope::shared, "train.rate", &settings.rate, Range{0, 1}, "the rate");
        options.add(Options::Scope::shared, "train.steps", &settings.steps, Range{1, 1e9}, "the steps");
        options.add(Options::Scope::local, "local.fresh", &settings.fresh, "start anew");
        options.add(Options::Scope::local, "local.name", &settings.name, "a name");
        options.add(Options::Scope::shared, "train.kind", &settings.kind, OneOf{{"red", "green"}}, "a kind");
        options.add(Options::Scope::local, "local.peers", &settings.peers, "peers");
    }
};

TEST_F(OptionsTest, Reads_every_type_from_toml) {
    const Status status = options.load_toml(
        "[train]\nrate = 0.5\nsteps = 7\nkind = \"green\"\n[local]\nfresh = true\nname = \"b "
        "\\\"c\\\"\"\npeers = [\"x\", \"y\"]\n",
        "run.toml");
    ASSERT_TRUE(status.ok()) << status.error().message;
    EXPECT_EQ(settings.rate, 0.5);
    EXPECT_EQ(settings.steps, 7);
    EXPECT_TRUE(settings.fresh);
    EXPECT_EQ(settings.name, "b \"c\"");
    EXPECT_EQ(settings.kind, "green");
    EXPECT_EQ(settings.peers, (std::vector<std::string>{"x", "y"}));
}

TEST_F(OptionsTest, What_is_written_reads_back_the_same) {
    settings = {0.25, 3, true, "tab\there", "green", {"one", "two"}};
    const std::string text = options.to_toml(true);
    settings = {};
    ASSERT_TRUE(options.load_toml(text, "again").ok());
    EXPECT_EQ(options.to_toml(false), [&] { return options.to_toml(false); }());
    EXPECT_EQ(settings.rate, 0.25);
    EXPECT_EQ(settings.name, "tab\there");
    EXPECT_EQ(settings.peers.size(), 2U);
}

TEST_F(OptionsTest, Unknown_key_names_the_nearest) {
    const Status status = options.set("train.rat", "1", "--set");
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::invalid);
    EXPECT_THAT(status.error().message, HasSubstr("did you mean train.rate?"));
}

TEST_F(OptionsTest, Unknown_key_in_a_file_names_the_line) {
    const Status status = options.load_toml("[train]\nrate = 0.5\nspeed = 3\n", "run.toml");
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.error().message, HasSubstr("run.toml line 3"));
}

TEST_F(OptionsTest, Wrong_type_and_range_name_key_value_and_expectation) {
    for (const auto& [key, value, expected] : std::vector<std::array<std::string, 3>>{
             {"train.rate", "2", "a number from 0 to 1"},
             {"train.rate", "fast", "a number from 0 to 1"},
             {"train.rate", "nan", "a number from 0 to 1"},
             {"train.steps", "1.5", "an integer from 1 to"},
             {"local.fresh", "yes", "true or false"},
             {"train.kind", "gren", "did you mean green?"},
         }) {
        const Status status = options.set(key, value, "--set");
        ASSERT_FALSE(status.ok()) << key << " = " << value;
        EXPECT_THAT(status.error().message, HasSubstr(key));
        EXPECT_THAT(status.error().message, HasSubstr(value));
        EXPECT_THAT(status.error().message, HasSubstr(expected));
    }
    EXPECT_EQ(settings.rate, 0.1);
}

TEST_F(OptionsTest, Environment_sets_keys_and_is_named_as_origin) {
    ASSERT_TRUE(options
                    .load_environment([](const char* name) -> const char* {
                        return std::string_view(name) == "ATOLL_TRAIN_RATE" ? "0.75" : nullptr;
                    })
                    .ok());
    EXPECT_EQ(settings.rate, 0.75);
    EXPECT_THAT(options.find("train.rate")->origin, HasSubstr("ATOLL_TRAIN_RATE"));
}

TEST_F(OptionsTest, Shared_text_leaves_local_keys_out) {
    EXPECT_EQ(options.shared_toml(), "train.kind = \"red\"\ntrain.rate = 0.1\ntrain.steps = 10\n");
}

TEST_F(OptionsTest, A_preset_gives_other_keys_values_and_a_key_in_the_same_file_has_the_last_word) {
    options.on_set("train.rate", [this] { settings.steps = 99, settings.kind = "green"; });
    ASSERT_TRUE(options.load_toml("[train]\nsteps = 5\nrate = 0.5\n", "run.toml").ok());
    EXPECT_EQ(settings.steps, 5);
    EXPECT_EQ(settings.kind, "green");
    EXPECT_EQ(options.find("train.kind")->origin, "train.rate = 0.5");
    EXPECT_EQ(options.find("train.steps")->origin, "run.toml line 2");
    ASSERT_TRUE(options.set("train.rate", "0.25", "--set").ok());
    EXPECT_EQ(settings.steps, 99);
}

}  // namespace
}  // namespace Atoll

// The command line's promises that hold for every command, walked over the table.
#include "node/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"

namespace Atoll::node {
namespace {

using testing::HasSubstr;

struct CliTest : testing::Test {
    StopToken stop;
    std::atomic<bool> watches_stop = false;
    std::string out;
    std::string error;
    std::filesystem::path folder =
        std::filesystem::path(testing::TempDir()) / ("atoll_cli_" + std::to_string(::getpid()));
    CliTest() { std::filesystem::create_directories(folder); }
    ~CliTest() override { std::filesystem::remove_all(folder); }

    int run(const std::vector<std::string>& arguments) {
        testing::internal::CaptureStdout();
        testing::internal::CaptureStderr();
        const int code = run_cli(arguments, "/usr/bin/atoll", stop, watches_stop);
        out = testing::internal::GetCapturedStdout();
        error = testing::internal::GetCapturedStderr();
        return code;
    }
};

TEST_F(CliTest, Every_command_has_help_that_begins_with_two_examples) {
    for (const auto& entry : commands()) {
        const std::string name(entry.name);
        ASSERT_EQ(run({name, "--help"}), 0) << name;
        const std::string help = out;
        EXPECT_THAT(help, testing::StartsWith("Examples:\n  ")) << name;
        for (const auto example : entry.examples) {
            EXPECT_THAT(help, HasSubstr(std::string(example))) << name;
            EXPECT_THAT(std::string(example), HasSubstr("atoll " + name)) << name;
        }
        for (const char* flag : {"--json", "--quiet", "--verbose", "--seed", "--threads", "--device",
                                 "--config", "--set", "--no-color"}) {
            EXPECT_THAT(help, HasSubstr(flag)) << name;
        }
        ASSERT_EQ(run({"help", name}), 0);
        EXPECT_EQ(out, help);
        EXPECT_TRUE(error.empty()) << error;
    }
}

TEST_F(CliTest, Names_are_unique_and_summaries_are_phrases) {
    std::set<std::string_view> names;
    for (const auto& entry : commands()) {
        EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
        EXPECT_EQ(entry.summary.find('\n'), std::string_view::npos) << entry.name;
        EXPECT_FALSE(entry.summary.empty() || entry.summary.back() == '.')
            << entry.name << ": a phrase, not a sentence";
        EXPECT_NE(entry.make(), nullptr);
    }
}

TEST_F(CliTest, Every_command_is_in_the_reference) {
    const auto reference = read_text(std::filesystem::path(ATOLL_SOURCE_DIR) / "docs/reference/cli.md");
    ASSERT_TRUE(reference.ok()) << reference.error().message;
    for (const auto& entry : commands())
        EXPECT_THAT(*reference, HasSubstr("`" + std::string(entry.name))) << entry.name;
}

TEST_F(CliTest, No_arguments_help_and_version_go_to_standard_output) {
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{}, {"--help"}, {"-h"}, {"help"}}) {
        EXPECT_EQ(run(arguments), 0);
        for (const auto& entry : commands()) EXPECT_THAT(out, HasSubstr(std::string(entry.name)));
    }
    EXPECT_EQ(run({"--version"}), 0);
    EXPECT_THAT(out, HasSubstr("CUDA"));
}

TEST_F(CliTest, A_mistyped_command_is_wrong_usage_and_names_the_nearest) {
    EXPECT_EQ(run({"trian"}), 2);
    EXPECT_THAT(error, HasSubstr("did you mean train?"));
    EXPECT_TRUE(out.empty());
    EXPECT_EQ(run({"--json", "doctor"}), 2);
    EXPECT_THAT(error, HasSubstr("comes after the command"));
}

TEST_F(CliTest, A_mistyped_flag_or_subcommand_is_wrong_usage_and_names_the_nearest) {
    EXPECT_EQ(run({"train", "--stpes", "3"}), 2);
    EXPECT_THAT(error, HasSubstr("did you mean --steps?"));
    EXPECT_EQ(run({"data", "prepaer"}), 2);
    EXPECT_THAT(error, HasSubstr("did you mean prepare?"));
    EXPECT_EQ(run({"generate", "--prompt", "x"}), 2);
    EXPECT_THAT(error, HasSubstr("--model"));
    EXPECT_EQ(run({"list", "codec"}), 2);
    EXPECT_THAT(error, HasSubstr("did you mean codecs?"));
    EXPECT_EQ(run({"doctor", "--threads", "many"}), 2);
    EXPECT_THAT(error, HasSubstr("--threads"));
    EXPECT_EQ(run({"doctor", "--device", "tpu"}), 2);
}

TEST_F(CliTest, With_json_a_failure_is_one_object_too) {
    EXPECT_EQ(run({"train", "--json", "--set", "optimizer.learning_rate=fast"}), 2);
    const auto object = nlohmann::json::parse(out);
    EXPECT_EQ(object["exit_code"], 2);
    EXPECT_THAT(object["error"].get<std::string>(), HasSubstr("optimizer.learning_rate = fast"));
    EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1);
    EXPECT_FALSE(error.empty());
}

TEST_F(CliTest, With_json_standard_output_holds_exactly_one_object) {
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"doctor", "--json"},
          {"list", "codecs", "--json"},
          {"config", "show", "--json"},
          {"completion", "bash", "--json"},
          {"init", "--out", (folder / "run.toml").string(), "--json"}}) {
        EXPECT_EQ(run(arguments), 0) << arguments[0] << error;
        EXPECT_TRUE(nlohmann::json::parse(out, nullptr, false).is_object()) << out;
        EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1) << out;
    }
}

TEST_F(CliTest, Doctor_checks_have_the_promised_fields) {
    ASSERT_EQ(run({"doctor", "--json"}), 0);
    const auto checks = nlohmann::json::parse(out)["checks"];
    ASSERT_GE(checks.size(), 10U);
    for (const auto& check : checks) {
        for (const char* field : {"name", "status", "detail", "fix"})
            EXPECT_TRUE(check[field].is_string()) << check.dump();
        EXPECT_THAT(check["status"].get<std::string>(), testing::AnyOf("ok", "warn", "fail"));
        EXPECT_TRUE(check["status"] != "fail" || !check["fix"].get<std::string>().empty()) << check.dump();
    }
}

TEST_F(CliTest, List_shows_every_family_with_summaries_and_sources) {
    for (const char* family :
         {"optimizers", "schedules", "algorithms", "averaging", "topologies", "codecs", "presets"}) {
        ASSERT_EQ(run({"list", family, "--json"}), 0) << family;
        const auto items = nlohmann::json::parse(out)["items"];
        ASSERT_FALSE(items.empty()) << family;
        for (const auto& item : items) {
            EXPECT_FALSE(item["name"].get<std::string>().empty()) << item.dump();
            EXPECT_FALSE(item["summary"].get<std::string>().empty()) << item.dump();
            EXPECT_TRUE(item["source"].is_string()) << item.dump();
        }
    }
}

TEST_F(CliTest, Init_writes_a_file_that_loads_and_is_never_overwritten) {
    const std::string path = (folder / "run.toml").string();
    ASSERT_EQ(run({"init", "--preset", "gpt2-124m", "--out", path}), 0) << error;
    const std::string text = read_text(path).value();
    EXPECT_THAT(text, HasSubstr("# "));
    ASSERT_EQ(run({"config", "show", "--config", path, "--json"}), 0) << error;
    EXPECT_THAT(out, HasSubstr("gpt2-124m"));
    EXPECT_EQ(run({"init", "--out", path}), 1);
    EXPECT_THAT(error, HasSubstr("not overwritten"));
    EXPECT_EQ(read_text(path).value(), text);
    EXPECT_EQ(run({"init", "--preset", "huge", "--out", (folder / "other.toml").string()}), 2);
    EXPECT_FALSE(std::filesystem::exists(folder / "other.toml"));
}

TEST_F(CliTest, Config_show_says_where_each_value_came_from) {
    ASSERT_EQ(run({"config", "show", "--origin", "--set", "run.rounds=7", "--seed", "9"}), 0);
    EXPECT_THAT(out, testing::ContainsRegex("rounds = 7 +# --set"));
    EXPECT_THAT(out, testing::ContainsRegex("seed = 9 +# --seed"));
    EXPECT_THAT(out, testing::ContainsRegex("threads = 0 +# default"));
}

TEST_F(CliTest, Completion_offers_every_command_and_its_flags) {
    for (const char* shell : {"bash", "zsh", "fish"}) {
        ASSERT_EQ(run({"completion", shell}), 0);
        for (const auto& entry : commands()) EXPECT_THAT(out, HasSubstr(std::string(entry.name))) << shell;
        EXPECT_THAT(out, HasSubstr("temperature")) << shell;
        EXPECT_THAT(out, HasSubstr("prepare")) << shell;
    }
    EXPECT_EQ(run({"completion", "tcsh"}), 2);
}

TEST_F(CliTest, Training_without_data_says_how_to_make_some) {
    EXPECT_EQ(run({"train", "--quiet"}), 2);
    EXPECT_THAT(error, HasSubstr("atoll data prepare"));
    EXPECT_EQ(run({"train", "--data", (folder / "none").string(), "--out", (folder / "run").string()}), 1);
    EXPECT_FALSE(std::filesystem::exists(folder / "run")) << "a wrong input leaves no run folder behind";
}

}  // namespace
}  // namespace Atoll::node

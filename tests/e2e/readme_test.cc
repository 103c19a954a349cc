// What README.md and the tutorial tell a newcomer to type works: every line that begins with "$ " in a block
// tagged
// ```console is run, in order, in one fresh shell per document.
#include <gmock/gmock.h>

#include <sstream>
#include <vector>

#include "tests/e2e/run_atoll.h"

namespace Atoll::e2e {
namespace {

// The commands of a Markdown text; a line that ends in a backslash goes on in the next.
std::vector<std::string> console_commands(const std::string& text) {
    std::vector<std::string> commands;
    std::istringstream stream(text);
    bool inside = false, goes_on = false;
    for (std::string line; std::getline(stream, line);) {
        if (line.starts_with("```")) {
            inside = !inside && line == "```console";
            goes_on = false;
        } else if (inside && goes_on) {
            goes_on = line.ends_with("\\");
            commands.back() += "\n" + line;
        } else if (inside && line.starts_with("$ ")) {
            goes_on = line.ends_with("\\");
            commands.push_back(line.substr(2));
        }
    }
    return commands;
}

TEST(ConsoleBlocks, Are_found_with_their_continuations_and_nothing_else) {
    const auto commands = console_commands(
        "$ not this\n```sh\n$ nor this\n```\n```console\n$ one\noutput\n$ two \\\n    more\n```\n$ end\n");
    EXPECT_EQ(commands, (std::vector<std::string>{"one", "two \\\n    more"}));
}

class Documents : public RunAtoll, public testing::WithParamInterface<const char*> {};

TEST_P(Documents, Commands_run_as_written) {
    const auto text = read_text(std::filesystem::path(ATOLL_SOURCE_DIR) / GetParam());
    ASSERT_TRUE(text.ok()) << text.error().message;
    const auto commands = console_commands(*text);
    ASSERT_FALSE(commands.empty()) << GetParam() << " has no ```console block";
    std::string script = "set -e\n";
    for (const auto& command : commands) script += command + "\n";
    // Whatever a document leaves running in the background ends with its shell.
    write("script.sh", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n" + script);
    const Said said = shell("bash script.sh");
    EXPECT_EQ(said.exit_code, 0) << script << said.error;
}

INSTANTIATE_TEST_SUITE_P(All, Documents, testing::Values("README.md", "docs/tutorial/first-run.md"),
                         [](const auto& document) {
                             return std::string(document.param) == "README.md" ? "readme" : "first_run";
                         });

}  // namespace
}  // namespace Atoll::e2e

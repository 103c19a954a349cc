// Runs the real program in a folder of its own and catches what it says.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/files.h"

namespace Atoll::e2e {

struct Said {
    int exit_code = -1;
    std::string out;
    std::string error;
    // The one object of --json; discarded if standard output is anything else.
    [[nodiscard]] nlohmann::json json() const { return nlohmann::json::parse(out, nullptr, false); }
};

// A scratch folder per test, removed at its end.
class RunAtoll : public testing::Test {
  protected:
    std::filesystem::path folder;

    RunAtoll() {
        static std::atomic<int> count = 0;
        folder = std::filesystem::path(testing::TempDir()) /
                 ("atoll_e2e_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
        std::filesystem::create_directories(folder);
    }
    ~RunAtoll() override { std::filesystem::remove_all(folder); }

    // A shell command line in the scratch folder, with `atoll` on the path.
    [[nodiscard]] Said shell(const std::string& command) const {
        const auto out = folder / ".out";
        const auto error = folder / ".error";
        const std::string line = "cd '" + folder.string() +
                                 "' && PATH='" ATOLL_BINARY_DIR "':\"$PATH\" ATOLL_HOME='" +
                                 (folder / "home").string() + "' sh -c '" + quoted(command) + "' >'" +
                                 out.string() + "' 2>'" + error.string() + "'";
        const int status = std::system(line.c_str());
        Said said;
        said.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        said.out = read_text(out).value();
        said.error = read_text(error).value();
        return said;
    }
    [[nodiscard]] Said atoll(const std::string& arguments) const { return shell("exec atoll " + arguments); }

    void write(const std::string& name, const std::string& text) const {
        ASSERT_TRUE(write_file(folder / name, std::string_view(text)).ok());
    }

  private:
    static std::string quoted(const std::string& text) {
        std::string result;
        for (const char c : text) result += c == '\'' ? "'\\''" : std::string(1, c);
        return result;
    }
};

}  // namespace Atoll::e2e

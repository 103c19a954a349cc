// Real nodes on loopback: their processes, a folder for them, and questions to them.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/rng.h"

namespace Atoll::e2e {

namespace fs = std::filesystem;

class Process {
  public:
    Process(const std::vector<std::string>& arguments, const fs::path& log) : log_(log) {
        std::vector<std::string> all{std::string(ATOLL_BINARY_DIR) + "/atoll"};
        all.insert(all.end(), arguments.begin(), arguments.end());
        std::vector<char*> raw;
        for (auto& argument : all) raw.push_back(argument.data());
        raw.push_back(nullptr);
        const std::string out = log.string() + ".out";
        const std::string err = log.string() + ".err";
        pid_ = fork();
        if (pid_ != 0) return;
        dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
        dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644), STDERR_FILENO);
        execv(raw[0], raw.data());
        _exit(127);
    }
    ~Process() {
        if (pid_ > 0) signal(SIGKILL);
    }
    Process(Process&& other) noexcept : log_(std::move(other.log_)), pid_(std::exchange(other.pid_, -1)) {}
    Process& operator=(Process&& other) noexcept {
        std::swap(log_, other.log_);
        std::swap(pid_, other.pid_);
        return *this;
    }

    // Sends a signal and waits for the end.
    int signal(int number) {
        kill(pid_, number);
        return wait();
    }
    // Exit code; 128 + signal if killed.
    int wait() {
        int status = 0;
        waitpid(pid_, &status, 0);
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    [[nodiscard]] bool running() { return pid_ > 0 && waitpid(pid_, nullptr, WNOHANG) == 0; }
    [[nodiscard]] nlohmann::json json() const {
        return nlohmann::json::parse(read_text(log_.string() + ".out").value(), nullptr, false);
    }
    [[nodiscard]] std::string errors() const { return read_text(log_.string() + ".err").value(); }

  private:
    fs::path log_;
    pid_t pid_ = -1;
};

// A scratch folder with data, and nodes of one run in it, each with a home of its own.
class Nodes : public testing::Test {
  protected:
    void SetUp() override {
        fs::remove_all(folder_);
        fs::create_directories(folder_);
        std::string text;
        Rng rng(3);
        const char* words[] = {"the ", "sea ", "wind ", "of ", "an ", "island ", "sings. "};
        while (text.size() < 200'000) text += words[rng.below(std::size(words))];
        ASSERT_TRUE(write_file(folder_ / "text.txt", std::string_view(text)).ok());
        ASSERT_EQ(run({"data", "prepare", "--input", path("text.txt"), "--out", path("data"), "--quiet"}), 0);
        ASSERT_TRUE(write_file(folder_ / "run.toml", std::string_view(run_toml())).ok());
    }
    [[nodiscard]] virtual std::string run_toml() const {
        return R"(
[run]
name = "e2e"
rounds = 40
members_min = 3
[model]
context = 32
layers = 1
heads = 2
kv_heads = 2
width = 32
inner = 64
head_dim = 16
[optimizer]
batch_sequences = 2
learning_rate = 3e-3
[schedule]
warmup_steps = 5
[algorithm]
inner_steps = 10
[averaging]
deadline_seconds = 2.0
[local]
threads = 1
validation_rounds = 10
validation_batches = 2
tensorboard = false
)";
    }
    [[nodiscard]] std::string path(const std::string& name) const { return (folder_ / name).string(); }
    [[nodiscard]] std::string home(int i) const { return path("home" + std::to_string(i)); }
    int run(const std::vector<std::string>& arguments) {
        return Process(arguments, folder_ / "command").wait();
    }
    nlohmann::json run_json(std::vector<std::string> arguments) {
        arguments.emplace_back("--json");
        Process process(arguments, folder_ / "command");
        EXPECT_EQ(process.wait(), 0) << process.errors();
        return process.json();
    }
    std::vector<std::string> common(int i) const {
        return {"--data", path("data"), "--home", home(i), "--out", path("run" + std::to_string(i)),
                "--json"};
    }
    Process start_first() {
        std::vector<std::string> arguments{"node", path("run.toml")};
        for (const auto& argument : common(0)) arguments.push_back(argument);
        return {arguments, folder_ / "node0"};
    }
    Process join(int i, const std::string& invite) {
        std::vector<std::string> arguments{"join", invite};
        for (const auto& argument : common(i)) arguments.push_back(argument);
        return {arguments, folder_ / ("node" + std::to_string(i))};
    }
    // The state of node `i`, as soon as `condition` holds for it; null if `process` ends before. Asking
    // starts a process each time, so the loop does not spin.
    template <typename Condition>
    nlohmann::json state_when(int i, Process& process, const Condition& condition) {
        while (process.running()) {
            Process status({"status", "--home", home(i), "--json"}, folder_ / "status");
            if (status.wait() != 0) continue;
            auto state = status.json();
            if (state.is_object() && condition(state)) return state;
        }
        return nullptr;
    }

    fs::path folder_ = fs::temp_directory_path() / ("atoll_nodes_" + std::to_string(getpid()));
};

}  // namespace Atoll::e2e

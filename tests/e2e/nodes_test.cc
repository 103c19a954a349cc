// Three real nodes on loopback train together by invites; one is killed and started again.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/rng.h"

namespace Atoll {
namespace {

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
        const std::string toml = R"(
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
        ASSERT_TRUE(write_file(folder_ / "run.toml", std::string_view(toml)).ok());
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

TEST_F(Nodes, train_together_and_survive_a_kill) {
    ASSERT_EQ(run({"keygen", "--owner", "--home", home(0), "--quiet"}), 0);
    Process nodes[] = {start_first(), Process({"--version"}, folder_ / "node1"),
                       Process({"--version"}, folder_ / "node2")};
    ASSERT_EQ(nodes[1].wait(), 0);
    ASSERT_EQ(nodes[2].wait(), 0);
    ASSERT_FALSE(state_when(0, nodes[0], [](const auto&) { return true; }).is_null()) << nodes[0].errors();
    const auto invite = run_json({"invite", "--config", path("run.toml"), "--home", home(0), "--uses", "2"});
    const std::string text = invite.at("invite");
    for (const int i : {1, 2}) nodes[i] = join(i, text);

    const auto underway = state_when(2, nodes[2], [](const auto& state) { return state["round"] >= 3; });
    ASSERT_FALSE(underway.is_null()) << nodes[2].errors();
    EXPECT_EQ(underway["view"]["members"], 3);
    EXPECT_EQ(nodes[2].signal(SIGKILL), 128 + SIGKILL);
    const auto without =
        state_when(0, nodes[0], [&](const auto& state) { return state["rounds_incomplete"] > 0; });
    ASSERT_FALSE(without.is_null()) << nodes[0].errors();
    nodes[2] = join(2, text);

    for (Process& node : nodes) {
        ASSERT_EQ(node.wait(), 0) << node.errors();
        const auto result = node.json();
        ASSERT_TRUE(result.is_object()) << node.errors();
        EXPECT_EQ(result["rounds"], 40);
        EXPECT_LT(result["val_loss"], 2.5);  // of 5.5 untrained: seven words, learned
        EXPECT_GT(result["bytes_data_parallel"], result["bytes_sent"]);
    }
    EXPECT_NE(nodes[2].errors().find("continuing at round"), std::string::npos) << nodes[2].errors();
    fs::remove_all(folder_);
}

TEST_F(Nodes, an_interrupt_saves_and_the_next_start_continues) {
    ASSERT_EQ(run({"keygen", "--owner", "--home", home(0), "--quiet"}), 0);
    const auto alone = [&] {
        std::vector<std::string> arguments{"node", path("run.toml"), "--set", "run.members_min=1"};
        for (const auto& argument : common(0)) arguments.push_back(argument);
        return Process(arguments, folder_ / "node0");
    };
    Process node = alone();
    ASSERT_FALSE(state_when(0, node, [](const auto& state) { return state["step"] >= 5; }).is_null())
        << node.errors();
    EXPECT_EQ(node.signal(SIGTERM), 130) << node.errors();
    const auto stopped = node.json();
    EXPECT_TRUE(stopped["interrupted"]);
    node = alone();
    EXPECT_EQ(node.wait(), 0) << node.errors();
    EXPECT_EQ(node.json()["steps"], 400);
    EXPECT_NE(node.errors().find("continuing at round"), std::string::npos) << node.errors();
    fs::remove_all(folder_);
}

TEST_F(Nodes, wrong_invites_and_foreign_runs_are_refused_in_words) {
    Process garbled({"join", "atoll://AAAA", "--data", path("data"), "--home", home(1)}, folder_ / "bad");
    EXPECT_EQ(garbled.wait(), 1);
    EXPECT_NE(garbled.errors().find("invite"), std::string::npos) << garbled.errors();
    Process stranger({"node", path("run.toml"), "--data", path("data"), "--home", home(1)},
                     folder_ / "stranger");
    EXPECT_EQ(stranger.wait(), 1);
    EXPECT_NE(stranger.errors().find("certificate"), std::string::npos) << stranger.errors();
    EXPECT_FALSE(fs::exists(folder_ / "runs"));
    fs::remove_all(folder_);
}

}  // namespace
}  // namespace Atoll

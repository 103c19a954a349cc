#include "node/demo/swarm.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/files.h"
#include "model/io/checkpoint.h"
#include "node/home.h"
#include "node/http_state.h"
#include "node/observe/jsonl.h"

namespace Atoll::node {

namespace fs = std::filesystem;

namespace {

constexpr double kCommandSeconds = 30;   // for a command that should take a moment
constexpr double kFarewellSeconds = 30;  // for a checkpoint after SIGTERM
constexpr auto kLook = std::chrono::milliseconds(50);

double number_of(const nlohmann::json& object, const char* key, double otherwise) {
    return object.contains(key) && object[key].is_number() ? object[key].get<double>() : otherwise;
}

std::uint64_t count_of(const nlohmann::json& object, const char* key, std::uint64_t otherwise) {
    return object.contains(key) && object[key].is_number_unsigned() ? object[key].get<std::uint64_t>()
                                                                    : otherwise;
}

// Unix time of "2026-01-31T12:00:00.123Z"; 0 if it is no time.
double time_of(const std::string& text) {
    int year = 0, month = 0, day = 0, hour = 0, minute = 0;
    double second = 0;
    if (std::sscanf(text.c_str(), "%d-%d-%dT%d:%d:%lfZ", &year, &month, &day, &hour, &minute, &second) != 6)
        return 0;
    const auto days = std::chrono::sys_days(std::chrono::year(year) / month / day).time_since_epoch();
    return std::chrono::duration<double>(days).count() + hour * 3600.0 + minute * 60.0 + second;
}

}  // namespace

Swarm::Swarm(fs::path program, fs::path folder, const Config& config, const StopToken& stop)
    : program_(std::move(program)), folder_(std::move(folder)), config_(config), stop_(stop) {}

std::vector<std::pair<std::string, std::string>> Swarm::environment(std::size_t index) const {
    const DemoNode& node = nodes_[index];
    const LocalConfig& local = config_.local;
    return {{"ATOLL_HOME", node.home.string()},
            {"ATOLL_LOCAL_FOLDER", node.folder.string()},
            {"ATOLL_LOCAL_NAME", node.name},
            {"ATOLL_LOCAL_DATA", local.data},
            {"ATOLL_LOCAL_LISTEN", "127.0.0.1:0"},
            {"ATOLL_LOCAL_HTTP", "127.0.0.1:0"},
            {"ATOLL_LOCAL_DEVICE", local.device},
            {"ATOLL_LOCAL_THREADS", std::to_string(local.threads)},
            {"ATOLL_LOCAL_VALIDATION_ROUNDS", std::to_string(local.validation_rounds)},
            {"ATOLL_LOCAL_VALIDATION_BATCHES", std::to_string(local.validation_batches)}};
}

// Runs a short command of a node and returns the one line it prints.
Result<std::string> Swarm::capture(std::size_t index, const std::vector<std::string>& arguments) {
    const fs::path out = nodes_[index].home / (arguments[0] + ".json");
    std::error_code code;
    fs::remove(out, code);
    ATOLL_ASSIGN(Process process,
                 Process::start({program_, arguments, environment(index), out, output(index)}));
    const auto exit_code = process.wait(kCommandSeconds);
    if (exit_code != 0) {
        return Error{ErrorCode::failed, fmt::format("atoll {} failed for {}; see {}", arguments[0],
                                                    nodes_[index].name, output(index).string())};
    }
    return read_text(out);
}

Status Swarm::launch(std::size_t index) {
    Member& member = members_[index];
    ATOLL_ASSIGN(Process process, Process::start({program_, member.arguments, environment(index),
                                                  nodes_[index].home / "result.json", output(index)}));
    member.process = std::make_unique<Process>(std::move(process));
    member.killed = false;
    nodes_[index].running = true;
    return {};
}

Status Swarm::start(std::int64_t nodes) {
    const std::string run_file = (folder_ / "run.toml").string();
    for (std::int64_t i = 0; i < nodes; ++i) {
        DemoNode node;
        node.name = fmt::format("island-{}", i + 1);
        node.home = folder_ / node.name;
        node.folder = node.home / "run";
        std::error_code code;
        fs::create_directories(node.home, code);
        if (code)
            return Error{ErrorCode::failed,
                         fmt::format("creating {}: {}", node.home.string(), code.message())};
        nodes_.push_back(std::move(node));
        members_.emplace_back();
    }
    ATOLL_TRY(capture(0, {"keygen", "--owner", "--json"}));
    members_[0].arguments = {"node", run_file, "--json", "--quiet"};
    ATOLL_TRY(launch(0));
    ATOLL_TRY(wait_until_listening(0));
    for (std::size_t i = 1; i < nodes_.size(); ++i) {
        ATOLL_ASSIGN(const std::string text,
                     capture(0, {"invite", "--config", run_file, "--json", "--quiet"}));
        const auto invite = nlohmann::json::parse(text, nullptr, false);
        if (!invite.is_object() || !invite.contains("invite") || !invite["invite"].is_string()) {
            return Error{ErrorCode::failed, fmt::format("no invite in: {}", text)};
        }
        members_[i].arguments = {
            "join", invite["invite"].get<std::string>(), "--data", config_.local.data, "--json", "--quiet"};
        ATOLL_TRY(launch(i));
    }
    return {};
}

Status Swarm::wait_until_listening(std::size_t index) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(kCommandSeconds);
    while (std::chrono::steady_clock::now() < deadline && !stop_.requested() &&
           !members_[index].process->poll()) {
        if (fs::exists(nodes_[index].home / "node.json")) return {};
        std::this_thread::sleep_for(kLook);
    }
    if (stop_.requested()) return Error{ErrorCode::interrupted, "interrupted before the run began"};
    return Error{ErrorCode::failed,
                 fmt::format("{} does not listen; see {}", nodes_[index].name, output(index).string())};
}

void Swarm::read_state(std::size_t index) {
    DemoNode& node = nodes_[index];
    const auto text = read_text(node.home / "node.json", 1U << 20U);
    const auto running = text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json();
    const auto page = running.is_object() ? http_get(running.value("http", ""), "/api/state")
                                          : Result<std::string>(Error{});
    if (!page) return;
    const auto state = nlohmann::json::parse(*page, nullptr, false);
    // After a restart the old address may still answer for a moment, or for somebody else.
    if (!state.is_object() || state.value("folder", "") != node.folder.string()) return;
    node.phase = state.value("phase", node.phase);
    node.peer = state.value("peer", node.peer);
    node.round = count_of(state, "round", node.round);
    node.step = count_of(state, "step", node.step);
    node.tokens = count_of(state, "tokens", node.tokens);
    node.loss = number_of(state, "train_loss", node.loss);
    node.tokens_per_second = number_of(state, "tokens_per_second", node.tokens_per_second);
    node.bytes_data_parallel = count_of(state, "bytes_data_parallel", node.bytes_data_parallel);
    Member& member = members_[index];
    const std::uint64_t bytes = count_of(state, "bytes_sent", 0);
    // What it sent between its last checkpoint and the kill is in no checkpoint; it was sent all the same.
    if (member.bytes_at_kill > 0 && node.phase != "starting") {
        member.bytes_lost += member.bytes_at_kill > bytes ? member.bytes_at_kill - bytes : 0;
        member.bytes_at_kill = 0;
    }
    node.bytes_sent = std::max(node.bytes_sent, bytes + member.bytes_lost);
}

Status Swarm::poll() {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        Member& member = members_[i];
        if (member.process == nullptr || member.killed) continue;
        const auto checkpoints = model::list_checkpoints(nodes_[i].folder / "checkpoint");
        if (!checkpoints.empty()) nodes_[i].saved_step = checkpoints.back().step;
        if (const auto code = member.process->poll()) {
            nodes_[i].running = false;
            if (*code == 0) {
                const auto text = read_text(nodes_[i].home / "result.json");
                const auto result = text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json();
                nodes_[i].phase = "done";
                nodes_[i].round = count_of(result, "rounds", nodes_[i].round);
                nodes_[i].step = count_of(result, "steps", nodes_[i].step);
                nodes_[i].tokens = count_of(result, "tokens", nodes_[i].tokens);
                nodes_[i].loss = number_of(result, "train_loss", nodes_[i].loss);
                nodes_[i].bytes_sent =
                    std::max(nodes_[i].bytes_sent, count_of(result, "bytes_sent", 0) + member.bytes_lost);
                nodes_[i].bytes_data_parallel =
                    count_of(result, "bytes_data_parallel", nodes_[i].bytes_data_parallel);
            } else if (!stop_.requested()) {
                return Error{ErrorCode::failed, fmt::format("{} ended with exit code {}; see {}",
                                                            nodes_[i].name, *code, output(i).string())};
            }
        } else {
            read_state(i);
        }
    }
    return {};
}

bool Swarm::done() const {
    return std::none_of(nodes_.begin(), nodes_.end(), [](const DemoNode& node) { return node.running; });
}

void Swarm::kill(std::size_t index) {
    Member& member = members_[index];
    member.process->signal(SIGKILL);
    (void)member.process->wait(kCommandSeconds);
    member.killed = true;
    member.bytes_at_kill = nodes_[index].bytes_sent - member.bytes_lost;
    nodes_[index].phase = "killed";
    nodes_[index].tokens_per_second = 0;
}

Status Swarm::restart(std::size_t index) {
    std::error_code code;
    fs::remove(nodes_[index].home / "node.json", code);
    nodes_[index].phase = "starting";
    return launch(index);
}

void Swarm::stop() {
    for (auto& member : members_) {
        if (member.process != nullptr) member.process->signal(SIGTERM);
    }
    for (auto& member : members_) {
        if (member.process != nullptr) (void)member.process->wait(kFarewellSeconds);
    }
}

std::string Swarm::parent_checkpoint(std::size_t index) const {
    const auto text = read_text(nodes_[index].folder / "meta.json");
    const auto meta = text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json();
    return meta.is_object() ? meta.value("parent_checkpoint", "") : "";
}

std::vector<DemoRound> Swarm::rounds(std::size_t index) const {
    std::vector<DemoRound> rounds;
    const auto lines = read_jsonl(nodes_[index].folder / "metrics.jsonl");
    if (!lines) return rounds;
    for (const auto& line : *lines) {
        const auto event = nlohmann::json::parse(line, nullptr, false);
        if (event.value("kind", "") != "round") continue;
        rounds.push_back({time_of(event.value("t", "")), count_of(event, "round", 0),
                          count_of(event, "members", 0), event.value("complete", false)});
    }
    return rounds;
}

}  // namespace Atoll::node

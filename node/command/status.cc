#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "node/command.h"
#include "node/home.h"
#include "node/http_state.h"

namespace Atoll::node {

namespace {

constexpr auto kWatchPeriod = std::chrono::seconds(1);

std::string loss_text(const nlohmann::json& value) {
    return value.is_number() ? fmt::format("{:.4f}", value.get<double>()) : "-";
}

// A running node's state as its HTTP page gives it; `status` shows the node, `peers` the members it knows.
class StateCommand : public Command {
  public:
    explicit StateCommand(bool peers) : peers_(peers) {}

    void declare(CLI::App& app) override {
        app.add_option("--http", http_,
                       "host:port of the node's state (default: the node of the home folder)");
        app.add_option("--home", home_, "home folder (default: $ATOLL_HOME, else ~/.atoll)")
            ->type_name("DIR");
        if (!peers_) app.add_flag("--watch", watch_, "again every second, until Ctrl-C");
    }

    bool watches_stop() const override { return watch_; }

    Result<Outcome> run(Session& session) override {
        std::string address = http_;
        if (address.empty()) {
            ATOLL_ASSIGN(const Home home, Home::find(home_));
            ATOLL_ASSIGN(const Home::Running running, home.load_running());
            address = running.http;
        }
        if (address.empty())
            return Error{ErrorCode::not_found, "the node serves no state: local.http is empty"};
        for (;;) {
            ATOLL_ASSIGN(const std::string text, http_get(address, "/api/state"));
            const auto state = nlohmann::json::parse(text, nullptr, false);
            if (!state.is_object() || !state.contains("members")) {
                return Error{ErrorCode::failed,
                             fmt::format("http://{}/api/state is no node of ours", address)};
            }
            if (peers_) {
                show_members(session, state);
            } else {
                show_node(session, state);
            }
            if (!watch_ || session.stop().requested()) return Outcome{text};
            std::this_thread::sleep_for(kWatchPeriod);
        }
    }

  private:
    static void show_node(Session& session, const nlohmann::json& state) {
        session.print(
            fmt::format("{}  {}  round {}/{}  step {}  train {}  held out {}  {:.0f} tokens/s  {} members  "
                        "{} bytes sent  "
                        "{} incomplete",
                        state.value("name", ""), state.value("phase", ""), state.value("round", 0),
                        state.value("rounds", 0), state.value("step", 0), loss_text(state["train_loss"]),
                        loss_text(state["val_loss"]), state.value("tokens_per_second", 0.0),
                        state["view"].value("members", 1), state.value("bytes_sent", std::uint64_t{0}),
                        state.value("rounds_incomplete", 0)));
    }

    static void show_members(Session& session, const nlohmann::json& state) {
        session.print(fmt::format("{:<8}  {:<16}  {:<8}  {:<6}  {:>6}  {:>8}  {:>8}  {:>7}  {}", "peer",
                                  "name", "state", "role", "round", "step", "loss", "silent", "address"));
        for (const auto& member : state["members"]) {
            session.print(fmt::format("{:<8}  {:<16}  {:<8}  {:<6}  {:>6}  {:>8}  {:>8}  {:>6.1f}s  {}",
                                      member.value("peer", "").substr(0, 8), member.value("name", ""),
                                      member.value("state", ""), member.value("role", ""),
                                      member.value("round", 0), member.value("step", 0),
                                      loss_text(member["loss"]), member.value("silence_seconds", 0.0),
                                      member.value("address", "")));
        }
    }

    bool peers_;
    bool watch_ = false;
    std::string http_;
    std::string home_;
};

}  // namespace

std::unique_ptr<Command> make_status_command() { return std::make_unique<StateCommand>(false); }
std::unique_ptr<Command> make_peers_command() { return std::make_unique<StateCommand>(true); }

}  // namespace Atoll::node

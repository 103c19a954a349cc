#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/files.h"
#include "node/command.h"
#include "node/demo/drama.h"
#include "node/demo/plan.h"
#include "node/demo/swarm.h"
#include "node/demo/table.h"
#include "node/observe/report.h"
#include "node/observe/run_folder.h"
#include "node/sampling.h"

namespace Atoll::node {

namespace {

namespace fs = std::filesystem;

constexpr auto kLook = std::chrono::milliseconds(200);
constexpr double kPatience = 4;  // times the planned seconds, and two minutes: then something hangs
constexpr std::string_view kPrompt = "The ";

struct DemoTimes {
    double seconds = 0;    // from the first step seen to the last node's last round
    double killed_at = 0;  // Unix times; 0: did not happen
    double returned_at = 0;
};

class DemoCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("--nodes", request_.nodes, "processes to start")
            ->capture_default_str()
            ->check(CLI::Range(1, 64));
        app.add_option("--data", request_.data, "text to learn instead of Debian's fortunes and dictionary")
            ->type_name("FILE");
        app.add_option("--seconds", request_.seconds, "time to train, about")
            ->capture_default_str()
            ->check(CLI::Range(1.0, 1e6));
        app.add_flag("--kill", request_.kill, "kill one node midway and start it again");
    }

    bool watches_stop() const override { return true; }

    Result<Outcome> run(Session& session) override {
        if (request_.kill && request_.nodes < 2) {
            return Error{ErrorCode::invalid,
                         "--kill with --nodes 1 leaves nobody to go on: expected at least 2 nodes"};
        }
        ATOLL_ASSIGN(const auto probe, demo_config(session.flags(), request_));
        ATOLL_ASSIGN(const RunFolder folder, RunFolder::open({probe->local.runs, probe->local.folder, "demo",
                                                              "demo", "demo", true, false}));
        request_.folder = fs::absolute(folder.path());
        Progress progress(session.flags().quiet);
        ATOLL_ASSIGN(const DemoPlan plan, plan_demo(session.flags(), request_, session.stop(), progress));
        const Config& config = *plan.config;
        ATOLL_TRY(folder.describe(config, to_hex(federation::run_id(config.run)), ""));
        session.note(fmt::format(
            "{} rounds of {} steps on {} nodes; held-out loss before training {:.3f} nats per byte; {}",
            config.run.run.rounds, config.run.algorithm.inner_steps, request_.nodes, plan.val_loss_start,
            request_.folder.string()));
        Swarm swarm(session.program(), request_.folder, config, session.stop());
        DemoTimes times;
        if (const Status watched = watch(session, config, swarm, times); !watched) {
            swarm.stop();
            return watched.error();
        }
        return finish(session, plan, folder, swarm, times);
    }

  private:
    Status watch(Session& session, const Config& config, Swarm& swarm, DemoTimes& times) const {
        using Clock = std::chrono::steady_clock;
        const auto begin = Clock::now();
        const auto passed = [begin] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
        const auto rounds = static_cast<std::uint64_t>(config.run.run.rounds);
        DemoTable table(session.flags().quiet);
        Drama drama(static_cast<std::size_t>(request_.nodes - 1), rounds,
                    static_cast<std::uint64_t>(config.run.algorithm.inner_steps));
        ATOLL_TRY(swarm.start(request_.nodes));
        double first_step = -1;
        double last_round = -1;
        while (!swarm.done()) {
            if (session.stop().requested())
                return Error{ErrorCode::interrupted, "interrupted; the nodes saved their checkpoints"};
            if (passed() > kPatience * request_.seconds + 120) {
                return Error{ErrorCode::failed,
                             fmt::format("the nodes did not finish in time; their logs are in {}",
                                         request_.folder.string())};
            }
            ATOLL_TRY(swarm.poll());
            const auto& nodes = swarm.nodes();
            if (first_step < 0 &&
                std::any_of(nodes.begin(), nodes.end(), [](const DemoNode& node) { return node.step > 0; })) {
                first_step = passed();
            }
            if (last_round < 0 && std::all_of(nodes.begin(), nodes.end(), [rounds](const DemoNode& node) {
                    return node.round >= rounds;
                })) {
                last_round = passed();
            }
            if (request_.kill) ATOLL_TRY(act(drama, swarm, table, passed(), times));
            table.update(nodes, rounds, passed());
            std::this_thread::sleep_for(kLook);
        }
        times.seconds = (last_round < 0 ? passed() : last_round) - std::max(0.0, first_step);
        return {};
    }

    static Status act(Drama& drama, Swarm& swarm, DemoTable& table, double now, DemoTimes& times) {
        const DemoNode& victim = swarm.nodes()[drama.victim()];
        switch (drama.next(swarm.nodes(), now)) {
            case Drama::Act::nothing: return {};
            case Drama::Act::kill:
                times.killed_at = unix_now();
                swarm.kill(drama.victim());
                table.note(fmt::format("SIGKILL to {} in round {}", victim.name, victim.round + 1));
                return {};
            case Drama::Act::restart:
                times.returned_at = unix_now();
                table.note(fmt::format("{} is started again", victim.name));
                return swarm.restart(drama.victim());
        }
        return {};
    }

    Result<Outcome> finish(Session& session, const DemoPlan& plan, const RunFolder& folder,
                           const Swarm& swarm, const DemoTimes& times) {
        const Config& config = *plan.config;
        const auto& nodes = swarm.nodes();
        nlohmann::json list = nlohmann::json::array();
        nlohmann::json bytes = nlohmann::json::array();
        std::vector<std::vector<DemoRound>> rounds;
        std::vector<fs::path> folders;
        std::uint64_t tokens = 0, sent = 0, data_parallel = 0;
        double val_loss = 0;
        for (std::size_t i = 0; i < nodes.size(); ++i) {
            const DemoNode& node = nodes[i];
            ATOLL_ASSIGN(const double loss, demo_validation(config, node.folder / "checkpoint"));
            rounds.push_back(swarm.rounds(i));
            folders.push_back(node.folder);
            bytes.push_back(node.bytes_sent);
            tokens += node.tokens;
            sent += node.bytes_sent;
            data_parallel += node.bytes_data_parallel;
            val_loss += loss / static_cast<double>(nodes.size());
            list.push_back({{"name", node.name},
                            {"peer", node.peer},
                            {"rounds", node.round},
                            {"steps", node.step},
                            {"tokens", node.tokens},
                            {"val_loss", loss},
                            {"bytes_sent", node.bytes_sent},
                            {"bytes_data_parallel", node.bytes_data_parallel},
                            {"run_folder", node.folder.string()}});
        }
        const Recovery recovery =
            judge_recovery(rounds, nodes.size() - 1, times.killed_at, times.returned_at);
        SampleRequest prompt;
        prompt.prompt = kPrompt;
        prompt.tokens = 300;
        ATOLL_ASSIGN(const Sample sample, sample_text(nodes[0].folder, prompt, config.local, session.stop()));
        const auto count = static_cast<double>(nodes.size());
        const nlohmann::json object = {
            {"nodes", std::move(list)},
            {"val_loss_start", plan.val_loss_start},
            {"val_loss", val_loss},
            {"tokens", tokens},
            {"seconds", times.seconds},
            {"tokens_per_second", times.seconds > 0 ? static_cast<double>(tokens) / times.seconds : 0},
            {"rounds", config.run.run.rounds},
            {"inner_steps", config.run.algorithm.inner_steps},
            {"bytes_sent_per_node", std::move(bytes)},
            {"bytes_data_parallel", static_cast<double>(data_parallel) / count},
            {"traffic_ratio", sent > 0 ? static_cast<double>(data_parallel) / static_cast<double>(sent) : 0},
            {"killed", recovery.killed},
            {"others_went_on", recovery.others_went_on},
            {"recovered", recovery.recovered},
            {"round_at_kill", recovery.round_at_kill},
            {"round_at_return", recovery.round_at_return},
            {"resumed_from", recovery.killed ? swarm.parent_checkpoint(nodes.size() - 1) : ""},
            {"sample", std::string(kPrompt) + sample.text},
            {"run_folder", folder.path().string()},
        };
        const std::string json = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
        ATOLL_TRY(folder.summarize(json));
        ATOLL_ASSIGN(const std::string page, make_report(folders));
        ATOLL_TRY(write_file(folder.path() / "report.html", std::string_view(page)));
        print(session, object);
        return Outcome{json, request_.kill && !recovery.recovered ? 1 : 0};
    }

    void print(Session& session, const nlohmann::json& object) const {
        const auto number = [&object](const char* key) { return object[key].get<double>(); };
        const double sent = number("bytes_data_parallel") / std::max(1e-9, number("traffic_ratio"));
        session.print(fmt::format("held-out loss     {:.3f} -> {:.3f} nats per byte",
                                  number("val_loss_start"), number("val_loss")));
        session.print(fmt::format("trained           {} tokens in {:.0f} s, {} tokens/s",
                                  short_number(number("tokens")), number("seconds"),
                                  short_number(number("tokens_per_second"))));
        session.print(fmt::format(
            "each node sent    {}B; synchronous data-parallel training would have sent {}B: {:.0f} times as "
            "much",
            short_number(sent), short_number(number("bytes_data_parallel")), number("traffic_ratio")));
        if (request_.kill) {
            session.print(fmt::format("the killed node   {}",
                                      object["recovered"].get<bool>()
                                          ? fmt::format("left in round {} and took part again from round {}",
                                                        object["round_at_kill"].get<int>() + 1,
                                                        object["round_at_return"].get<int>())
                                          : std::string("did not take part in a complete round again")));
        }
        session.print(fmt::format("run folder        {} (report.html has the curves)\n\n{}",
                                  object["run_folder"].get<std::string>(),
                                  object["sample"].get<std::string>()));
    }

    DemoRequest request_;
};

}  // namespace

std::unique_ptr<Command> make_demo_command() { return std::make_unique<DemoCommand>(); }

}  // namespace Atoll::node

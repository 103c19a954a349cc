#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "node/command.h"
#include "node/signals.h"

namespace Atoll::node {

namespace {

// Becomes atoll-sim: SimGrid lives in a program of its own, so that nodes do not carry it.
class SimCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("file", file_, "scenario (TOML), as sims/scenario/four_islands.toml")
            ->required()
            ->type_name("FILE");
        app.add_flag("--timing-only", timing_only_,
                     "send the same messages, train nothing: for thousands of nodes");
        app.add_option("--trace", trace_, "write what each node does in virtual time, for ui.perfetto.dev")
            ->type_name("FILE");
    }

    Result<Outcome> run(Session& session) override {
        const GlobalFlags& flags = session.flags();
        const std::string program = (session.program().parent_path() / "atoll-sim").string();
        std::vector<std::string> words = {program, file_};
        if (timing_only_) words.emplace_back("--timing-only");
        if (flags.json) words.emplace_back("--json");
        if (flags.quiet) words.emplace_back("--quiet");
        if (flags.verbose) words.emplace_back("--verbose");
        if (flags.no_color) words.emplace_back("--no-color");
        const auto option = [&words](const std::string& name, const std::string& value) {
            if (!value.empty()) words.insert(words.end(), {name, value});
        };
        option("--seed", flags.seed ? std::to_string(*flags.seed) : "");
        option("--threads", flags.threads ? std::to_string(*flags.threads) : "");
        option("--device", flags.device);
        option("--config", flags.config_file);
        option("--trace", trace_);
        for (const auto& assignment : flags.assignments) option("--set", assignment);

        std::vector<char*> arguments;
        for (auto& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        restore_default_signals();
        ::execv(program.c_str(), arguments.data());
        return Error{ErrorCode::failed, fmt::format("starting {}: {}; it is built and installed beside atoll",
                                                    program, std::strerror(errno))};
    }

  private:
    std::string file_;
    std::string trace_;
    bool timing_only_ = false;
};

}  // namespace

std::unique_ptr<Command> make_sim_command() { return std::make_unique<SimCommand>(); }

}  // namespace Atoll::node

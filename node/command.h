// A command of the program: what it is called, which options it has, what it does. One file under
// node/command/ each, one line in the table of node/command/registry.cc.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/stop.h"

namespace CLI {
class App;
}

namespace Atoll::node {

// The flags that every command has (docs/reference/cli.md).
struct GlobalFlags {
    bool json = false;
    bool quiet = false;
    bool verbose = false;
    bool no_color = false;
    std::optional<std::int64_t> seed;
    std::optional<std::int64_t> threads;
    std::string device;                    // empty: as configured
    std::string config_file;               // empty: run.toml if the command says so, else only defaults
    std::vector<std::string> assignments;  // --set key=value, in order
};

// What a command needs of the process around it.
class Session {
  public:
    Session(const GlobalFlags& flags, const StopToken& stop, std::filesystem::path program)
        : flags_(flags), stop_(stop), program_(std::move(program)) {}

    [[nodiscard]] const GlobalFlags& flags() const { return flags_; }
    // Requested by the first Ctrl-C or SIGTERM; a command that runs for long watches it and returns
    // `interrupted`.
    [[nodiscard]] const StopToken& stop() const { return stop_; }
    // This executable: for commands that start nodes or atoll-sim.
    [[nodiscard]] const std::filesystem::path& program() const { return program_; }

    // A line of the result for a human reader: standard output, or nowhere with --json (the object says the
    // same).
    void print(std::string_view line) const;
    // A line about what is going on: standard error, unless --quiet.
    void note(std::string_view line) const;

    // Of several ranks of a node only rank 0 prints the JSON object.
    [[nodiscard]] bool speaks() const { return speaks_; }
    void leave_the_word_to_rank_0() { speaks_ = false; }

  private:
    bool speaks_ = true;
    const GlobalFlags& flags_;
    const StopToken& stop_;
    std::filesystem::path program_;
};

// What a command hands back: `json` is the text of the one JSON object that --json prints.
struct Outcome {
    std::string json = "{}";
    int exit_code = 0;
};

class Command {
  public:
    virtual ~Command() = default;
    // Adds its options; the variables they fill are members.
    virtual void declare(CLI::App& app) = 0;
    [[nodiscard]] virtual Result<Outcome> run(Session& session) = 0;
    // Whether run() watches the stop token. The first Ctrl-C ends any other command at once: those write
    // files atomically, so nothing is left half done.
    [[nodiscard]] virtual bool watches_stop() const { return false; }
};

struct CommandEntry {
    std::string_view name;
    std::string_view summary;
    std::array<std::string_view, 2> examples;  // shown first by --help
    std::unique_ptr<Command> (*make)();
};

[[nodiscard]] std::span<const CommandEntry> commands();

}  // namespace Atoll::node

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "node/command.h"
#include "node/config.h"

namespace Atoll::node {

namespace {

constexpr std::string_view kHeading =
    "# A run of Atoll. Tables run ... codec are agreed by all members: their hash is the run id. Table local "
    "is this\n"
    "# machine's own. Every key may be left out; `atoll config show --origin --config run.toml` prints what "
    "then holds.\n"
    "# Overrides, in rising order: this file, ATOLL_<TABLE>_<KEY> in the environment, --set table.key=value, "
    "flags.\n\n";

class InitCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("--preset", preset_, "model to start from; atoll list presets")->type_name("NAME");
        app.add_option("--out", out_, "file to write")->capture_default_str()->type_name("FILE");
    }

    Result<Outcome> run(Session& session) override {
        GlobalFlags flags = session.flags();
        // Before the other assignments: they may change single keys of the preset.
        if (!preset_.empty()) flags.assignments.insert(flags.assignments.begin(), "model.preset=" + preset_);
        ATOLL_ASSIGN(const auto config, load_config(flags));
        if (std::filesystem::exists(out_)) {
            return Error{ErrorCode::failed,
                         fmt::format("{} exists and is not overwritten: remove it, or choose --out", out_)};
        }
        ATOLL_TRY(write_file(out_, std::string(kHeading) + config->options.to_toml(true)));
        session.print(fmt::format(
            "wrote {}; next: atoll data prepare --input FILE --out data, then atoll train --config {}", out_,
            out_));
        return Outcome{nlohmann::json{{"path", out_}}.dump()};
    }

  private:
    std::string preset_;
    std::string out_ = "run.toml";
};

}  // namespace

std::unique_ptr<Command> make_init_command() { return std::make_unique<InitCommand>(); }

}  // namespace Atoll::node

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "node/command.h"
#include "node/config.h"

namespace Atoll::node {

namespace {

// `config show [--origin]`: what a run with the same flags would use.
class ConfigCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.require_subcommand(1);
        CLI::App* show = app.add_subcommand("show", "print every key and its value, as TOML");
        show->add_flag("--origin", origin_, "with where each value came from");
    }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const auto config, load_config(session.flags()));
        nlohmann::json keys = nlohmann::json::array();
        std::string table;
        for (const auto& key : config->options.keys()) {
            const auto dot = key.name.find('.');
            if (key.name.substr(0, dot) != table) {
                session.print(fmt::format("{}[{}]", table.empty() ? "" : "\n", key.name.substr(0, dot)));
                table = key.name.substr(0, dot);
            }
            const std::string line = fmt::format("{} = {}", key.name.substr(dot + 1), key.get());
            session.print(origin_ ? fmt::format("{:<44}  # {}", line, key.origin) : line);
            keys.push_back({{"key", key.name},
                            {"value", key.get()},
                            {"origin", key.origin},
                            {"shared", key.scope == Options::Scope::shared},
                            {"expected", key.expected},
                            {"help", key.help}});
        }
        return Outcome{
            nlohmann::json{{"run", to_hex(federation::run_id(config->run))}, {"keys", std::move(keys)}}
                .dump()};
    }

  private:
    bool origin_ = false;
};

}  // namespace

std::unique_ptr<Command> make_config_command() { return std::make_unique<ConfigCommand>(); }

}  // namespace Atoll::node

#include "node/command.h"

namespace Atoll::node {

// One line here and one in kCommands for a new command.
std::unique_ptr<Command> make_config_command();

namespace {

constexpr CommandEntry kCommands[] = {
    {"config",
     "show the effective configuration and where each value came from",
     {"atoll config show --origin", "atoll config show --config run.toml --set optimizer.learning_rate=1e-3"},
     make_config_command},
};

}  // namespace

std::span<const CommandEntry> commands() { return kCommands; }

}  // namespace Atoll::node

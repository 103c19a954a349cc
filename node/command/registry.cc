#include "node/command.h"

namespace Atoll::node {

// One line here and one in kCommands for a new command.
std::unique_ptr<Command> make_completion_command();
std::unique_ptr<Command> make_config_command();
std::unique_ptr<Command> make_data_command();
std::unique_ptr<Command> make_doctor_command();
std::unique_ptr<Command> make_init_command();
std::unique_ptr<Command> make_list_command();
std::unique_ptr<Command> make_report_command();
std::unique_ptr<Command> make_sim_command();

namespace {

constexpr CommandEntry kCommands[] = {
    {"init",
     "write a commented run.toml",
     {"atoll init", "atoll init --preset gpt2-124m --out big.toml"},
     make_init_command},
    {"doctor",
     "check this machine and say how to mend it",
     {"atoll doctor", "atoll doctor --json"},
     make_doctor_command},
    {"list", "what can be chosen", {"atoll list codecs", "atoll list presets --json"}, make_list_command},
    {"data",
     "turn text into token shards, and look at them",
     {"atoll data prepare --input book.txt --out data", "atoll data inspect data"},
     make_data_command},
    {"sim",
     "run the same algorithms on a simulated network",
     {"atoll sim sims/scenario/four_islands.toml",
      "atoll sim sims/scenario/four_islands.toml --timing-only --json"},
     make_sim_command},
    {"report",
     "one page with the plots of one run or several",
     {"atoll report runs/atoll/20260131T120000Z-local", "atoll report runs/a/* --out compare.html"},
     make_report_command},
    {"config",
     "show the effective configuration and where each value came from",
     {"atoll config show --origin", "atoll config show --config run.toml --set optimizer.learning_rate=1e-3"},
     make_config_command},
    {"completion",
     "shell completion",
     {"eval \"$(atoll completion bash)\"", "atoll completion fish > ~/.config/fish/completions/atoll.fish"},
     make_completion_command},
};

}  // namespace

std::span<const CommandEntry> commands() { return kCommands; }

}  // namespace Atoll::node

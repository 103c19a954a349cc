#include "node/command.h"

namespace Atoll::node {

// One line here and one in kCommands for a new command.
std::unique_ptr<Command> make_completion_command();
std::unique_ptr<Command> make_config_command();
std::unique_ptr<Command> make_data_command();
std::unique_ptr<Command> make_demo_command();
std::unique_ptr<Command> make_doctor_command();
std::unique_ptr<Command> make_eval_command();
std::unique_ptr<Command> make_export_command();
std::unique_ptr<Command> make_generate_command();
std::unique_ptr<Command> make_grow_command();
std::unique_ptr<Command> make_id_command();
std::unique_ptr<Command> make_import_command();
std::unique_ptr<Command> make_init_command();
std::unique_ptr<Command> make_invite_command();
std::unique_ptr<Command> make_join_command();
std::unique_ptr<Command> make_keygen_command();
std::unique_ptr<Command> make_list_command();
std::unique_ptr<Command> make_node_command();
std::unique_ptr<Command> make_peers_command();
std::unique_ptr<Command> make_report_command();
std::unique_ptr<Command> make_sim_command();
std::unique_ptr<Command> make_status_command();
std::unique_ptr<Command> make_topology_command();
std::unique_ptr<Command> make_train_command();

namespace {

constexpr CommandEntry kCommands[] = {
    {"demo",
     "four nodes on this machine train one model on real English text",
     {"atoll demo", "atoll demo --kill --seconds 60"},
     make_demo_command},
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
    {"train",
     "train on this machine alone, without a network",
     {"atoll train --data data --steps 500", "atoll train run.toml --set optimizer.learning_rate=3e-4"},
     make_train_command},
    {"eval",
     "a model on held-out text and on multiple choice",
     {"atoll eval --model runs/atoll/20260131T120000Z-local --data data",
      "atoll eval --model gpt2 --questions hellaswag_val.bin --json"},
     make_eval_command},
    {"generate",
     "continue a text",
     {"atoll generate --model runs/atoll/20260131T120000Z-local --prompt 'Once upon'",
      "atoll generate --model gpt2 --prompt 'The sea' --tokens 50 --temperature 0"},
     make_generate_command},
    {"import",
     "make a Hugging Face folder a checkpoint of ours",
     {"atoll import gpt2 --out start", "atoll import gpt2 --out start --json"},
     make_import_command},
    {"export",
     "write a model for other programs",
     {"atoll export --model runs/atoll/20260131T120000Z-local --to hf --out model",
      "atoll export --model start --to gguf --out model.gguf"},
     make_export_command},
    {"grow",
     "a larger model that computes the same function",
     {"atoll grow --model runs/atoll/20260131T120000Z-local --width 256 --depth 4 --out grown",
      "atoll grow --model gpt2 --width 1536 --out gpt2-wide --noise-db 10 --json"},
     make_grow_command},
    {"keygen",
     "make this node's key, or a run owner's",
     {"atoll keygen", "atoll keygen --owner"},
     make_keygen_command},
    {"id", "who this node is", {"atoll id", "atoll id --home /srv/atoll --json"}, make_id_command},
    {"node",
     "start a peer: train and exchange until the run ends",
     {"atoll node run.toml --data data",
      "atoll node run.toml --listen 0.0.0.0:4700 --announce my.host.org:4700"},
     make_node_command},
    {"invite",
     "one string that lets machines into a run",
     {"atoll invite --config run.toml --uses 3 --expires 24h", "atoll invite inspect 'atoll://...'"},
     make_invite_command},
    {"join",
     "join a run with one paste",
     {"atoll join 'atoll://...' --data data", "atoll join 'atoll://...' --data data --name lab-3"},
     make_join_command},
    {"status",
     "what a running node does",
     {"atoll status", "atoll status --watch --http 127.0.0.1:8080"},
     make_status_command},
    {"peers", "the members a running node knows", {"atoll peers", "atoll peers --json"}, make_peers_command},
    {"sim",
     "run the same algorithms on a simulated network",
     {"atoll sim sims/scenario/four_islands.toml",
      "atoll sim sims/scenario/four_islands.toml --timing-only --json"},
     make_sim_command},
    {"topology",
     "a mixing schedule, its properties and its picture",
     {"atoll topology null_cascade --nodes 23 --degree 2 --plot null_cascade.svg",
      "atoll topology hierarchical --region-sizes 3,5,8 --json"},
     make_topology_command},
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

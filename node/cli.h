// The command line: from arguments to a command and back to an exit code, the same for every command.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/stop.h"
#include "node/command.h"

namespace Atoll::node {

// Runs `atoll ARGUMENTS` (without the program's name) and returns the exit code. Results go to standard
// output, everything else to standard error; with --json standard output gets exactly one JSON object, also
// for a failure:
// {"error": ..., "exit_code": ...}. `stop` is what signals request; `watches_stop` is told whether the
// command that runs watches it.
[[nodiscard]] int run_cli(const std::vector<std::string>& arguments, const std::string& program,
                          StopToken& stop, std::atomic<bool>& watches_stop);

// The parser of one command, its own options and the global flags declared. All three outlive it.
[[nodiscard]] std::unique_ptr<CLI::App> make_parser(const CommandEntry& entry, Command& command,
                                                    GlobalFlags& flags);

// "atoll 0.1.0 (commit, ...)".
[[nodiscard]] std::string version_text();

}  // namespace Atoll::node

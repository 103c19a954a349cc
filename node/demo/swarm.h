// The demo's nodes: real processes with an identity each, started, watched over their HTTP state, killed and
// started again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/stop.h"
#include "node/config.h"
#include "node/process.h"

namespace Atoll::node {

// What is known of one node from outside: its state page, its metrics.jsonl and its process.
struct DemoNode {
    std::string name;
    std::filesystem::path home;    // $ATOLL_HOME: keys, certificate, addresses
    std::filesystem::path folder;  // its run folder
    std::string phase = "starting";
    std::string peer;
    std::uint64_t round = 0;
    std::uint64_t step = 0;
    std::uint64_t saved_step = 0;  // of its newest whole checkpoint
    std::uint64_t tokens = 0;
    double loss = std::numeric_limits<double>::quiet_NaN();
    double tokens_per_second = 0;
    std::uint64_t bytes_sent = 0;
    std::uint64_t bytes_data_parallel = 0;
    bool running = false;
};

// A line of a node's metrics.jsonl of kind "round".
struct DemoRound {
    double unix_time = 0;
    std::uint64_t round = 0;
    std::uint64_t members = 0;
    bool complete = false;
};

class Swarm {
  public:
    // `folder`: of the demo, with run.toml in it. All outlive the swarm.
    Swarm(std::filesystem::path program, std::filesystem::path folder, const Config& config,
          const StopToken& stop);

    // The owner's node first, then the others by invite. Errors (failed): a command did not succeed; says
    // where its output is.
    [[nodiscard]] Status start(std::int64_t nodes);
    // Brings nodes() up to date. Errors: a node ended that should not have.
    [[nodiscard]] Status poll();
    [[nodiscard]] const std::vector<DemoNode>& nodes() const { return nodes_; }
    // All processes have ended, after the end of the run.
    [[nodiscard]] bool done() const;

    // SIGKILL, and the same command again: nothing but its home and run folder tell it who it is.
    void kill(std::size_t index);
    [[nodiscard]] Status restart(std::size_t index);
    // SIGTERM to all; waits for their checkpoints.
    void stop();

    [[nodiscard]] std::vector<DemoRound> rounds(std::size_t index) const;
    // The checkpoint that a node's last process continued from; "" if it began anew.
    [[nodiscard]] std::string parent_checkpoint(std::size_t index) const;

  private:
    struct Member {
        std::vector<std::string> arguments;
        std::unique_ptr<Process> process;
        bool killed = false;
        std::uint64_t bytes_lost = 0;  // sent before a kill and after the checkpoint it continued from
        std::uint64_t bytes_at_kill = 0;
    };
    [[nodiscard]] Status launch(std::size_t index);
    [[nodiscard]] Result<std::string> capture(std::size_t index, const std::vector<std::string>& arguments);
    [[nodiscard]] Status wait_until_listening(std::size_t index);
    void read_state(std::size_t index);
    [[nodiscard]] std::vector<std::pair<std::string, std::string>> environment(std::size_t index) const;
    [[nodiscard]] std::filesystem::path output(std::size_t index) const {
        return nodes_[index].home / "output.log";
    }

    std::filesystem::path program_;
    std::filesystem::path folder_;
    const Config& config_;
    const StopToken& stop_;
    std::vector<DemoNode> nodes_;
    std::vector<Member> members_;
};

}  // namespace Atoll::node

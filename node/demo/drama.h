// The demo's --kill: one node dies midway, the others go on, it comes back; and what the records say about
// that.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "node/demo/swarm.h"

namespace Atoll::node {

// What happened to the victim, from records that the nodes wrote.
struct Recovery {
    bool killed = false;
    bool others_went_on = false;  // they finished a round while it was gone
    bool recovered = false;       // it finished a round again in which another node had everybody's share
    std::uint64_t round_at_kill = 0;
    std::uint64_t round_at_return = 0;  // of the first round it finished again
};

// Pure: when to act, from what is seen.
class Drama {
  public:
    enum class Act { nothing, kill, restart };

    Drama(std::size_t victim, std::uint64_t rounds, std::uint64_t inner_steps)
        : victim_(victim), rounds_(rounds), inner_steps_(inner_steps) {}
    // `now`: seconds, never going back. Kill once a checkpoint of two fifths of the rounds is whole; start
    // again when others have finished a round without it, or after a while.
    [[nodiscard]] Act next(const std::vector<DemoNode>& nodes, double now);
    [[nodiscard]] std::size_t victim() const { return victim_; }

  private:
    std::size_t victim_;
    std::uint64_t rounds_;
    std::uint64_t inner_steps_;
    double killed_at_ = -1;
    std::uint64_t others_at_kill_ = 0;
    bool restarted_ = false;
};

// Reads the story off the records: `rounds[i]` of node i, `killed_at` and `returned_at` as Unix times.
[[nodiscard]] Recovery judge_recovery(const std::vector<std::vector<DemoRound>>& rounds, std::size_t victim,
                                      double killed_at, double returned_at);

}  // namespace Atoll::node

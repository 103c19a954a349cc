// What a running node does at the safe points of its algorithm: counts, tells, evaluates, checkpoints.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "federation/algorithm/algorithm.h"
#include "federation/member_state.h"
#include "gossip/host.h"
#include "node/config.h"
#include "node/node_state.h"
#include "node/observe/energy.h"
#include "node/observe/event.h"
#include "node/observe/progress.h"
#include "node/observe/run_folder.h"
#include "node/training.h"

namespace Atoll::node {

class NodeObserver : public federation::Observer {
  public:
    // All outlive the observer.
    NodeObserver(const Config& config, Replica& replica, gossip::Host& host, const RunFolder& folder,
                 EventSink& events, Progress& progress, NodeBoard& board);

    // Goes on counting where the checkpoint stopped.
    void restore(const federation::RestoredMember& restored);
    Status on_step(const federation::StepResult& result, std::uint64_t step) override;
    Status on_round(const federation::RoundReport& report, federation::Algorithm& algorithm) override;
    Status persist(federation::Algorithm& algorithm) override;

    // A checkpoint of the present step, unless there is one.
    [[nodiscard]] Status save(federation::Algorithm& algorithm);
    [[nodiscard]] Status validate();
    // Brings traffic and energy on the board up to date. Thread-safe.
    void refresh();

  private:
    [[nodiscard]] Status write_checkpoint(federation::Algorithm& algorithm);

    const Config& config_;
    Replica& replica_;
    gossip::Host& host_;
    const RunFolder& folder_;
    EventSink& events_;
    Progress& progress_;
    NodeBoard& board_;
    std::mutex energy_mutex_;  // guards energy_
    EnergyMeter energy_;
    federation::RestoredMember before_;  // counters of earlier processes
    std::chrono::steady_clock::time_point step_begin_ = std::chrono::steady_clock::now();
    std::uint64_t steps_in_round_ = 0;
    std::uint64_t tokens_here_ = 0;
    std::uint64_t saved_step_ = ~std::uint64_t{0};
    std::optional<std::uint64_t> validated_step_;
};

}  // namespace Atoll::node

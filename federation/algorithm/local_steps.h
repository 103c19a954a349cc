// Dynamic local steps (Liu et al. 2024, arXiv 2401.09135, section 5): a member takes inner steps in
// proportion to its measured speed, so that the rounds of slow and fast machines take the same time.
#pragma once

#include <cstdint>

#include "federation/algorithm/algorithm.h"
#include "federation/run_config.h"

namespace Atoll::federation {

class LocalSteps {
  public:
    // H always, unless the run asks for algorithm.dynamic_steps.
    explicit LocalSteps(const RunConfig::AlgorithmTable& options)
        : dynamic_(options.dynamic_steps),
          inner_steps_(static_cast<float>(options.inner_steps)),
          steps_(inner_steps_) {}

    [[nodiscard]] bool dynamic() const { return dynamic_; }
    // Of the present round, at least 1.
    [[nodiscard]] std::uint64_t steps() const { return static_cast<std::uint64_t>(steps_); }
    // Learns from a round that has ended.
    void measure(const RoundReport& report);
    // Inner steps a second; 0: not known yet.
    [[nodiscard]] double speed() const { return speed_; }
    // H_w = H v_w / reference, to the nearest: rounding down is more at the mercy of noise in the
    // measurement. Nothing changes where a speed is not known.
    void follow(double reference);

    // "local_steps" (own).
    [[nodiscard]] StateVector state() { return {"local_steps", {&steps_, 1}, false}; }

  private:
    bool dynamic_;
    float inner_steps_;  // H
    float steps_;        // H_w; a float, as everything in a checkpoint
    double speed_ = 0;
};

}  // namespace Atoll::federation

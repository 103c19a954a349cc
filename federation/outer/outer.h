// An outer optimizer: what becomes of the anchor (the parameters of the last outer step) when the averaged
// pseudo-gradient is known.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace Atoll::federation {

struct OuterOptions {
    double learning_rate = 0.7;
    double momentum = 0.9;
    double beta2 = 0.99;   // adam: decay of the second moment
    double epsilon = 0.1;  // adam: added to its root
};

class OuterOptimizer {
  public:
    virtual ~OuterOptimizer() = default;
    // One step: anchor moves against `delta` (old minus new, so that a positive rate follows the replicas).
    // Precondition: both have the length given to make().
    void step(std::span<float> anchor, std::span<const float> delta) { step_range(0, anchor, delta); }
    // The same for a part of the vector, which begins at `offset`: every optimizer here works element by
    // element and keeps no count of steps, so that fragments can take their steps at different times.
    // Precondition: equal lengths, within the length given to make().
    virtual void step_range(std::size_t offset, std::span<float> anchor, std::span<const float> delta) = 0;
    struct State {
        std::string name;
        std::span<float> values;
    };
    // What must survive a restart; valid as long as the object.
    [[nodiscard]] virtual std::vector<State> state() = 0;
};

struct OuterEntry {
    std::string_view name;
    std::string_view summary;
    std::string_view source;
    bool uses_momentum;
    std::unique_ptr<OuterOptimizer> (*make)(const OuterOptions& options, std::size_t parameters);
};

[[nodiscard]] std::span<const OuterEntry> outer_optimizers();
// Errors (invalid): unknown name, with the nearest known one.
[[nodiscard]] Result<std::unique_ptr<OuterOptimizer>> make_outer_optimizer(std::string_view name,
                                                                           const OuterOptions& options,
                                                                           std::size_t parameters);

}  // namespace Atoll::federation

// An inner optimizer: how a replica's parameters follow its gradients. A new one is one file beside this, one
// line in registry.cc and one golden trajectory; tests/model/optim_contract_test.cc walks the table.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/flat.h"
#include "kernels/ops.h"
#include "model/state_vector.h"

namespace Atoll::model {

struct OptimizerOptions {
    double beta1 = 0.9;  // sgd: its momentum, 0 = none
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double weight_decay = 0.1;  // decoupled, and only on matrices: vectors (norms, biases) never decay
};

struct OptimizerStep {
    std::span<float> parameters;
    std::span<const float> gradients;
    double learning_rate = 0;
    double gradient_scale = 1;  // multiplies each gradient first (clipping)
    std::int64_t step = 1;      // number of this step, from 1 (bias corrections); nothing else counts steps
};

class Optimizer {
  public:
    virtual ~Optimizer() = default;
    // Preconditions: both spans have the layout's size; learning_rate and all gradients are finite.
    virtual void step(const OptimizerStep& step) = 0;
    // What must survive a restart beside the step number; every vector has the layout's size, and stays valid
    // as long as the object. With these restored the next step gives the same bits.
    [[nodiscard]] virtual std::vector<StateVector> state() = 0;
};

struct OptimizerEntry {
    std::string_view name;
    std::string_view summary;
    std::string_view source;
    // `ops` outlives the optimizer.
    std::unique_ptr<Optimizer> (*make)(kernels::Ops& ops, const kernels::Layout& layout,
                                       const OptimizerOptions& options);
};

[[nodiscard]] std::span<const OptimizerEntry> optimizers();
// Errors (invalid): unknown name, with the nearest known one.
[[nodiscard]] Result<std::unique_ptr<Optimizer>> make_optimizer(std::string_view name, kernels::Ops& ops,
                                                                const kernels::Layout& layout,
                                                                const OptimizerOptions& options);

// The flat vector cut into runs of tensors that decay (matrices) and runs that do not, in order, without
// gaps.
struct DecayRange {
    std::size_t offset = 0;
    std::size_t size = 0;
    bool decays = false;
};
[[nodiscard]] std::vector<DecayRange> decay_ranges(const kernels::Layout& layout);

}  // namespace Atoll::model

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
#include "model/objective.h"
#include "model/optim/packed_state.h"
#include "model/parameterization.h"
#include "model/state_vector.h"

namespace Atoll::model {

struct OptimizerOptions {
    double beta1 = 0.9;  // sgd, signum: the momentum
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double weight_decay = 0.1;  // decoupled, and only on matrices: vectors (norms, biases) never decay
    double beta3 = 0.999;       // ademamix: of the slow average
    double alpha = 8;           // ademamix: weight of the slow average
    std::int64_t horizon_steps = 1000;        // ademamix: alpha and beta3 reach their values here
    bool nesterov = true;                     // muon, d_muon, signum: look ahead by one step of momentum
    double momentum = 0.95;                   // muon, d_muon: of the matrices
    double matrix_rate_ratio = 10;            // muon: learning rate of the matrices, times that of the rest
    double variance_reduction = 0.025;        // mars: eta
    double rho = 0.04;                        // sophia: scale of the curvature
    std::int64_t curvature_interval = 10;     // sophia: steps between estimates
    std::int64_t batch_tokens = 1;            // sophia: tokens of a step
    std::int64_t precondition_interval = 10;  // soap: steps between new eigenbases
    std::int64_t precondition_side_max = 10000;  // soap: longer sides of a matrix are left as they are
    std::int64_t head_dim = 0;        // adam_mini: queries and keys share a second moment a head; 0 = a row
    std::vector<TensorScale> scales;  // one a tensor of the layout, or none: all 1
    StateFormat state = StateFormat::fp32;
    std::uint64_t seed = 1;                 // mezo, dizo: of the directions
    double perturbation = 1e-3;             // mezo, dizo: epsilon, how far along a direction losses are taken
    std::int64_t projection_interval = 50;  // dizo: steps between projections (kappa)
    std::int64_t projection_iterations = 10;       // dizo: of the search for their factors (J)
    double projection_rate = 2;                    // dizo: of that search (eta)
    double projection_perturbation = 0.1;          // dizo: of that search (epsilon)
    double projection_limit = 0.2;                 // dizo: a factor stays in 1 +- this (tau)
    std::string projection_tensors = "key_value";  // dizo: or query_value, matrices
};

struct OptimizerStep {
    std::span<float> parameters;
    std::span<const float> gradients;
    double learning_rate = 0;
    double gradient_scale = 1;  // multiplies each gradient first (clipping)
    std::int64_t step = 1;      // number of this step, from 1 (bias corrections); nothing else counts steps
};

// A step that sees losses only.
struct ForwardStep {
    Objective& objective;         // at `parameters`
    std::span<float> parameters;  // may be written: the objective sees it
    double learning_rate = 0;
    double clip_norm = 0;  // of the slope that stands for the gradient; 0 = off
    std::int64_t step = 1;
};
struct ForwardReport {
    double loss = 0;           // at the parameters before the step
    std::uint64_t tokens = 0;  // drawn from the data
    double slope = 0;          // its size, before clipping
};

// Has one of the two kinds of step, as its entry says.
class Optimizer {
  public:
    virtual ~Optimizer() = default;
    // Preconditions: both spans have the layout's size; learning_rate and all gradients are finite.
    virtual void step(const OptimizerStep& step);
    // Of forward_only entries. Errors: the objective's; failed if a loss is not finite. After an error the
    // parameters are as before the step but for rounding.
    [[nodiscard]] virtual Result<ForwardReport> forward_step(const ForwardStep& step);
    // What must survive a restart beside the step number; the vectors' sizes never change, and they stay
    // valid as long as the object. With these restored the next step gives the same bits.
    [[nodiscard]] virtual std::vector<StateVector> state() = 0;

    // Where the gradient of the next step is to be taken: the parameters themselves, or a vector of the
    // optimizer's own that is valid until the next call.
    [[nodiscard]] virtual std::span<const float> gradient_point(std::span<const float> parameters) {
        return parameters;
    }
    // Whether step number `step` wants curvature() before it, with the gradient of a batch whose targets are
    // drawn from the model's own predictions.
    [[nodiscard]] virtual bool wants_curvature(std::int64_t /*step*/) const { return false; }
    virtual void curvature(std::span<const float> /*sampled_gradients*/) {}
    // A merge with other replicas has written the parameters.
    virtual void parameters_replaced() {}
};

struct OptimizerEntry {
    std::string_view name;
    std::string_view summary;
    std::string_view source;
    // What the entry is known to work with: the configuration starts from these when it is chosen.
    double learning_rate;
    OptimizerOptions defaults;
    // `ops` outlives the optimizer.
    std::unique_ptr<Optimizer> (*make)(kernels::Ops& ops, const kernels::Layout& layout,
                                       const OptimizerOptions& options);
    // Whether muP and CompleteP are right for it: a step that does not depend on the gradient's scale,
    // element by element, and honours OptimizerOptions::scales.
    bool scales = false;
    // Whether it honours OptimizerOptions::state; the others keep fp32.
    bool packs = false;
    // Whether it needs matrices inside the network.
    bool matrices = false;
    // Steps by losses alone: no gradient is computed, and neither it nor what a backward pass needs is kept.
    bool forward_only = false;
    // Each element follows from its own past alone: a shard of the vector can be stepped by itself, with the
    // same bits.
    bool elementwise = false;
    // Whether a tensor's step depends on the others: ranks that share the tensors cannot step their own
    // alone.
    bool coupled = false;
};

[[nodiscard]] std::span<const OptimizerEntry> optimizers();
// Errors (invalid): unknown name, with the nearest known one; an optimizer of matrices for a layout without.
[[nodiscard]] Result<const OptimizerEntry*> find_optimizer(std::string_view name);
[[nodiscard]] Result<std::unique_ptr<Optimizer>> make_optimizer(std::string_view name, kernels::Ops& ops,
                                                                const kernels::Layout& layout,
                                                                const OptimizerOptions& options);

// The flat vector cut into runs of tensors that decay (matrices) and runs that do not, and that have the same
// scales, in order, without gaps. `scales`: one a tensor, or none: all 1.
struct DecayRange {
    std::size_t offset = 0;
    std::size_t size = 0;
    bool decays = false;
    double rate = 1;     // of the learning rate; the decay follows the unscaled one
    double epsilon = 1;  // of the optimizer's epsilon
};
[[nodiscard]] std::vector<DecayRange> decay_ranges(const kernels::Layout& layout,
                                                   std::span<const TensorScale> scales = {});

// Whether a tensor is a matrix inside the network: not an embedding or the output head, whose rows are
// tokens.
[[nodiscard]] bool is_hidden_matrix(const kernels::TensorSlot& slot);

}  // namespace Atoll::model

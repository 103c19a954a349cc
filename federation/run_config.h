// What the whole run agrees on: one struct, one schema. Its hash is the run id; a node whose id differs is
// refused.
#pragma once

#include <cstdint>
#include <string>

#include "base/hash.h"
#include "base/options.h"
#include "base/result.h"
#include "model/config.h"

namespace Atoll::federation {

// A default-constructed one is a valid run: the tiny preset, DiLoCo over one-peer exponential gossip.
struct RunConfig {
    struct Run {
        std::string name = "atoll";
        std::int64_t seed = 1;
        std::int64_t rounds = 100;     // outer steps until the run ends
        std::int64_t members_min = 1;  // wait for so many before the first round
        std::string initial_model;     // hash of the parameters it begins with; empty = drawn from the seed
    } run;

    // Where the model table starts from. Setting the key model.preset fills in the whole table; keys of the
    // table that stand in the same file, or are set later, have the last word.
    std::string model_preset = "tiny";
    model::ModelConfig model = preset_of_default();

    struct Data {
        // byte, bpe:N or a tokenizer.json
        std::string tokenizer = "byte";
        // split: each member its own part of the shards; same: everyone all of it, each in its own order
        std::string assignment = "split";
        double held_out = 0.01;  // fraction of the tokens kept for evaluation
    } data;

    struct Optimizer {
        std::string name = "adamw";
        double learning_rate = 1e-3;
        double beta1 = 0.9;
        double beta2 = 0.95;
        double epsilon = 1e-8;
        double weight_decay = 0.1;
        double clip_norm = 1.0;            // 0 = off
        std::int64_t batch_sequences = 8;  // per node and step
        std::int64_t accumulation = 1;     // micro-batches a step; batch_sequences is their sum
        double z_loss = 0.0;
        std::string precision = "fp32";  // fp32 or bf16
        std::string state = "fp32";      // fp32, bf16 or int8
        // Of single optimizers (model/optim/optimizer.h).
        double beta3 = 0.999;
        double alpha = 8;
        std::int64_t horizon_steps = 0;  // 0 = length of the schedule
        bool nesterov = true;
        double momentum = 0.95;
        double matrix_rate_ratio = 10;
        double variance_reduction = 0.025;
        double rho = 0.04;
        std::int64_t curvature_interval = 10;
        std::int64_t precondition_interval = 10;
        std::int64_t precondition_side_max = 10000;
        double perturbation = 1e-3;
        std::int64_t projection_interval = 50;
        std::int64_t projection_iterations = 10;
        double projection_rate = 2;
        double projection_perturbation = 0.1;
        double projection_limit = 0.2;
        std::string projection_tensors = "key_value";
    } optimizer;

    struct Schedule {
        std::string name = "cosine";  // constant, cosine (linear warm-up, then cosine), wsd
        std::int64_t steps = 0;       // length in inner steps; 0 = run.rounds * algorithm.inner_steps
        std::int64_t warmup_steps = 20;
        double final_fraction = 0.1;  // of the peak rate at the end
        double decay_fraction = 0.2;  // wsd: the last part of the run that decays
        // adalrs: the peak rate is searched for while training (model/optim/rate_search.h)
        std::string search = "none";
        std::int64_t search_window = 0;  // steps; 0 = 1% of the schedule, 10 at least
        double search_begin = 0.1;       // the part of the schedule in which it searches
        double search_end = 0.4;
        double search_raise = 3;
        double search_lower = 2;
        double search_shrink = 0.99;
    } schedule;

    struct AlgorithmTable {
        std::string name = "diloco";
        std::int64_t inner_steps = 50;  // H
        std::string outer_optimizer = "nesterov";
        double outer_learning_rate = 0.7;
        double outer_momentum = 0.9;
        double outer_beta2 = 0.99;   // adam
        double outer_epsilon = 0.1;  // adam
        // Every round one of so many slices of the anchors themselves is averaged in fp32 beside the
        // pseudo-gradients, so that anchors which drifted apart (lost messages, quantisation) meet again; 0 =
        // off.
        std::int64_t anchor_slices = 32;
        // Of single algorithms; the help says which.
        std::int64_t fragments = 0;  // P; 0 = one for every three layers
        std::string fragment_pattern = "strided";
        std::int64_t overlap_steps = 1;  // tau
        double mixing = 0.5;             // alpha
        double quorum = 0.5;             // fraction of the members
        double grace_seconds = 1;
        bool dynamic_steps = false;
        std::int64_t perturbations = 1;       // decomfl: directions a local step (P)
        std::int64_t candidate_seeds = 4096;  // fedkseed: directions of the whole run
        double consensus_rate = 0.7;          // gamma
        double momentum_decay = 0.999;        // beta
        double averaged_fraction = 0.005;     // p
        std::int64_t batches_max = 0;    // acco, delayed_update: taken in during one exchange; 0 = no limit
        std::string vote = "majority";   // distributed_lion: majority or average
        std::string ties = "alternate";  // distributed_lion: of a majority vote, alternate or zero
        // Of the algorithms around a server (federation/federated).
        struct Federated {
            std::string participation = "full";    // a law of federation/federated/participation.h
            std::int64_t participation_count = 0;  // m of uniform, cyclic, categorical; 0 = a quarter
            double participation_low = 0.1;        // the clients' chances are spread from low ...
            double participation_high = 0.9;       // ... to high
            double participation_stay = 0.7;       // markov: chance that one who takes part does again
            std::string participation_trace;       // trace: a file on the server
            double server_learning_rate = 0;       // of the server's step; 0 = the algorithm's own
            double server_momentum = 0.9;
            double server_beta2 = 0.99;
            double server_epsilon = 1e-3;
            double proximal = 0.01;                // mu
            std::int64_t absence_rounds_max = 50;  // K
            bool server_trains = true;
            bool remember_clients = true;
            std::int64_t expiry_rounds = 0;
            double round_seconds = 600;
            double server_wait_seconds = 600;
            bool operator==(const Federated&) const = default;
        } federated;
    } algorithm;

    struct AveragingTable {
        std::string name = "push_sum";
        std::int64_t stages = 0;  // 0 = the algorithm's own: one, or the topology's period
        double deadline_seconds = 30;
        double norm_ratio_max = 100;
        double tolerance = 0;        // push_sum: mix until all agree so far; 0 = a fixed number of stages
        double trim_fraction = 0.2;  // trimmed_mean
        double clip_radius = 0;      // centered_clip; 0 = follows from the values
        std::string server;  // star: first hexadecimal digits of the peer id of the member that serves
    } averaging;

    struct TopologyTable {
        std::string name = "one_peer_exponential";
        std::int64_t degree = 1;
        std::string rounding = "ceil";    // k_peer_exponential: ceil, or the paper's floor
        std::string order = "reordered";  // null_cascade: reordered (fast rounds first), or paper
        std::int64_t interval = 1;        // hierarchical: rounds from one exchange across regions to the next
    } topology;

    struct CodecTable {
        std::string name = "int8_block";
        bool error_feedback = true;
        std::string rounding = "nearest";  // or stochastic (unbiased), where the codec can
        double density = 0;                // of sparse codecs; 0 = the codec's own
        double feedback_decay = 1;         // of the residual, before it is added (SparseLoCo: 0.95)
        std::int64_t rank = 4;             // of low_rank
    } codec;

  private:
    static model::ModelConfig preset_of_default();
};

// Gives the table what the optimizer it names is known to work with. An unknown name is left to validate().
void take_defaults(RunConfig::Optimizer& optimizer);

// Adds every key of `config` (tables run, model, data, optimizer, schedule, algorithm, averaging, topology,
// codec) with its limits and help text, all of them shared. `config` outlives `options`.
void bind(Options& options, RunConfig& config);

// Cross-field checks, after all keys are set: unknown names (with the nearest known one), contradictions
// (with both keys and their values).
[[nodiscard]] Status validate(const RunConfig& config);

// Length of the learning-rate schedule in inner steps: schedule.steps, or the run's.
[[nodiscard]] std::int64_t schedule_steps(const RunConfig& config);

// The canonical text (TOML): every key, whatever its value, in sorted order; and back. Errors (invalid) as
// bind() and validate() give them, and a key that is missing.
[[nodiscard]] std::string to_text(const RunConfig& config);
[[nodiscard]] Result<RunConfig> run_config_from_text(const std::string& text);
// BLAKE2b of the canonical text.
[[nodiscard]] Hash run_id(const RunConfig& config);

}  // namespace Atoll::federation

#include "federation/run_config.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "federation/algorithm/algorithm.h"
#include "federation/federated/participation.h"
#include "model/optim/optimizer.h"
#include "model/optim/schedule.h"

namespace Atoll::federation {

namespace {

constexpr auto kShared = Options::Scope::shared;
constexpr double kUnbounded = std::numeric_limits<double>::infinity();
// Steps, rounds and seeds stay exact in a double and far from overflow when two of them are multiplied.
constexpr double kCountMax = 1e9;

std::vector<std::string> preset_names() {
    std::vector<std::string> names;
    for (const auto& preset : model::model_presets()) names.emplace_back(preset.name);
    return names;
}

void bind_run(Options& options, RunConfig::Run& run) {
    options.add(kShared, "run.name", &run.name, "name of the run, for people");
    options.add(kShared, "run.seed", &run.seed, Range{0, 9e15},
                "every random number of the run follows from it");
    options.add(kShared, "run.rounds", &run.rounds, Range{1, kCountMax}, "outer steps until the run ends");
    options.add(kShared, "run.members_min", &run.members_min, Range{1, 1e6},
                "wait for so many members before the first round");
    options.add(
        kShared, "run.initial_model", &run.initial_model,
        "hash of the parameters the run begins with (atoll import, grow); empty: drawn from run.seed");
}

// The limits are the model library's own (its validate() names the field): here only the types.
void bind_model(Options& options, RunConfig& config) {
    constexpr Range kDimension{1, 1e8};
    model::ModelConfig& model = config.model;
    options.add(kShared, "model.preset", &config.model_preset, OneOf{preset_names()},
                "shape to start from; the other keys of the table override it");
    options.on_set("model.preset", [&config] {
        const auto preset = model::model_preset(config.model_preset);
        ATOLL_CHECK(preset.ok());
        config.model = *preset;
    });
    options.add(kShared, "model.family", &model.family, OneOf{{"gpt2", "llama"}}, "architecture");
    options.add(kShared, "model.vocabulary", &model.vocabulary, kDimension, "number of different tokens");
    options.add(kShared, "model.context", &model.context, kDimension, "longest sequence, in tokens");
    options.add(kShared, "model.layers", &model.layers, kDimension, "transformer blocks");
    options.add(kShared, "model.heads", &model.heads, kDimension, "attention heads of a block");
    options.add(kShared, "model.kv_heads", &model.kv_heads, kDimension,
                "key/value heads; fewer than heads = grouped-query attention (llama)");
    options.add(kShared, "model.width", &model.width, kDimension, "channels of the residual stream");
    options.add(kShared, "model.inner", &model.inner, kDimension, "hidden width of the MLP");
    options.add(kShared, "model.head_dim", &model.head_dim, kDimension, "channels of one head");
    options.add(kShared, "model.tied_head", &model.tied_head, "the output head is the token embedding");
    options.add(kShared, "model.qk_norm", &model.qk_norm, "normalise queries and keys of each head (llama)");
    options.add(kShared, "model.norm_epsilon", &model.norm_epsilon, Range{0, 1},
                "added to variances under the root");
    options.add(kShared, "model.rope_theta", &model.rope_theta, Range{1, 1e12},
                "base of the rotary frequencies (llama)");
    options.add(kShared, "model.init_std", &model.init_std, Range{0, 10},
                "standard deviation of the initial weights");
    options.add(
        kShared, "model.parameterization", &model.parameterization, OneOf{{"standard", "mup", "completep"}},
        "how initial values and rates follow from width and layers; completep, mup: as tuned on the base");
    options.add(kShared, "model.base_width", &model.base_width, kDimension,
                "mup, completep: width of the model on which the settings were tuned");
    options.add(kShared, "model.base_layers", &model.base_layers, kDimension,
                "mup, completep: layers of the model on which the settings were tuned");
}

void bind_data(Options& options, RunConfig::Data& data) {
    options.add(kShared, "data.tokenizer", &data.tokenizer, "byte, bpe:N or the path of a tokenizer.json");
    options.add(
        kShared, "data.assignment", &data.assignment, OneOf{{"split", "same"}},
        "split: each member its own part of the data; same: everyone all of it, in an order of its own");
    options.add(kShared, "data.held_out", &data.held_out, Range{0, 0.5},
                "fraction of the tokens kept for evaluation");
}

void bind_optimizer_extras(Options& options, RunConfig::Optimizer& optimizer) {
    options.add(kShared, "optimizer.beta3", &optimizer.beta3, Range{0, 1},
                "ademamix: decay of the slow average");
    options.add(kShared, "optimizer.alpha", &optimizer.alpha, Range{0, 1000},
                "ademamix: weight of the slow average");
    options.add(kShared, "optimizer.horizon_steps", &optimizer.horizon_steps, Range{0, kCountMax * 1e3},
                "ademamix: steps until alpha and beta3 have risen; 0 = length of the schedule");
    options.add(kShared, "optimizer.nesterov", &optimizer.nesterov,
                "muon, d_muon, signum, algorithm qg_dsgdm: look ahead by one step of momentum");
    options.add(kShared, "optimizer.momentum", &optimizer.momentum, Range{0, 0.9999},
                "muon, d_muon: momentum of the matrices");
    options.add(kShared, "optimizer.matrix_rate_ratio", &optimizer.matrix_rate_ratio, Range{0, 1e6},
                "muon: rate of the matrices, times optimizer.learning_rate");
    options.add(kShared, "optimizer.variance_reduction", &optimizer.variance_reduction, Range{0, 1},
                "mars: weight of the gradient's change (eta)");
    options.add(kShared, "optimizer.rho", &optimizer.rho, Range{0, 1e6}, "sophia: scale of the curvature");
    options.add(kShared, "optimizer.curvature_interval", &optimizer.curvature_interval, Range{1, 1e6},
                "sophia: steps between estimates of the curvature");
    options.add(kShared, "optimizer.precondition_interval", &optimizer.precondition_interval, Range{1, 1e6},
                "soap: steps between new eigenbases");
    options.add(kShared, "optimizer.precondition_side_max", &optimizer.precondition_side_max, Range{0, 1e6},
                "soap: longer sides of a matrix keep no eigenbasis");
    options.add(kShared, "optimizer.perturbation", &optimizer.perturbation, Range{1e-8, 1},
                "mezo, dizo, algorithms decomfl and fedkseed: losses are taken so far along a direction");
    options.add(kShared, "optimizer.projection_interval", &optimizer.projection_interval, Range{1, 1e6},
                "dizo: steps between projections");
    options.add(kShared, "optimizer.projection_iterations", &optimizer.projection_iterations, Range{1, 1000},
                "dizo: batches a projection takes, two forward passes each");
    options.add(kShared, "optimizer.projection_rate", &optimizer.projection_rate, Range{0, 1000},
                "dizo: rate of a projection's factors");
    options.add(kShared, "optimizer.projection_perturbation", &optimizer.projection_perturbation,
                Range{1e-6, 10}, "dizo: losses of a projection are taken so far apart");
    options.add(kShared, "optimizer.projection_limit", &optimizer.projection_limit, Range{0, 0.49},
                "dizo: a projection changes a tensor's distance by at most this fraction");
    options.add(kShared, "optimizer.projection_tensors", &optimizer.projection_tensors,
                OneOf{{"key_value", "query_value", "matrices"}}, "dizo: which tensors are projected");
}

void bind_optimizer(Options& options, RunConfig::Optimizer& optimizer) {
    options.add(kShared, "optimizer.name", &optimizer.name,
                "inner optimizer (atoll list optimizers); brings its own settings, the other keys override");
    options.on_set("optimizer.name", [&optimizer] { take_defaults(optimizer); });
    options.add(kShared, "optimizer.learning_rate", &optimizer.learning_rate, Range{0, 100},
                "peak rate of the schedule");
    options.add(kShared, "optimizer.beta1", &optimizer.beta1, Range{0, 1}, "decay of the first moment");
    options.add(kShared, "optimizer.beta2", &optimizer.beta2, Range{0, 1}, "decay of the second moment");
    options.add(kShared, "optimizer.epsilon", &optimizer.epsilon, Range{0, 1},
                "added to the root of the second moment");
    options.add(kShared, "optimizer.weight_decay", &optimizer.weight_decay, Range{0, 100},
                "decoupled weight decay, times the learning rate");
    options.add(kShared, "optimizer.clip_norm", &optimizer.clip_norm, Range{0, kUnbounded},
                "largest norm of the gradient; 0 = off");
    options.add(kShared, "optimizer.batch_sequences", &optimizer.batch_sequences, Range{1, 1e6},
                "sequences a node and step");
    options.add(kShared, "optimizer.accumulation", &optimizer.accumulation, Range{1, 1e6},
                "micro-batches a step: less memory, same result");
    options.add(kShared, "optimizer.z_loss", &optimizer.z_loss, Range{0, 1},
                "weight of logsumexp^2 in the loss");
    options.add(kShared, "optimizer.precision", &optimizer.precision, OneOf{{"fp32", "bf16"}},
                "operands of matrix products; masters stay fp32");
    options.add(kShared, "optimizer.state", &optimizer.state, OneOf{{"fp32", "bf16", "int8"}},
                "how the optimizer's state is kept: 32, 16 or 8 bits a value (element-wise optimizers)");
    bind_optimizer_extras(options, optimizer);
}

void bind_schedule(Options& options, RunConfig::Schedule& schedule) {
    options.add(
        kShared, "schedule.name", &schedule.name, OneOf{{"constant", "cosine", "wsd"}},
        "learning rate over the run: constant, cosine or warm-up, stable, decay; all warm up linearly");
    options.add(kShared, "schedule.steps", &schedule.steps, Range{0, kCountMax * 1e3},
                "length in inner steps; 0 = run.rounds * algorithm.inner_steps");
    options.add(kShared, "schedule.warmup_steps", &schedule.warmup_steps, Range{0, kCountMax},
                "linear warm-up");
    options.add(kShared, "schedule.final_fraction", &schedule.final_fraction, Range{0, 1},
                "of the peak rate, at the end");
    options.add(kShared, "schedule.decay_fraction", &schedule.decay_fraction, Range{0, 1},
                "wsd: the last part of the run, in which the rate falls");
    options.add(kShared, "schedule.search", &schedule.search, OneOf{{"none", "adalrs"}},
                "adalrs: find the peak rate while training; optimizer.learning_rate is where it begins");
    options.add(kShared, "schedule.search_window", &schedule.search_window, Range{0, kCountMax},
                "adalrs: steps that a rate is judged by; 0 = 1% of the schedule, 10 at least");
    options.add(kShared, "schedule.search_begin", &schedule.search_begin, Range{0, 1},
                "adalrs: the part of the schedule after which it searches");
    options.add(kShared, "schedule.search_end", &schedule.search_end, Range{0, 1},
                "adalrs: the part of the schedule after which the rate is settled");
    options.add(kShared, "schedule.search_raise", &schedule.search_raise, Range{1, 1000},
                "adalrs: a trial multiplies the rate with this");
    options.add(kShared, "schedule.search_lower", &schedule.search_lower, Range{1, 1000},
                "adalrs: a failed trial divides the rate by this");
    options.add(kShared, "schedule.search_shrink", &schedule.search_shrink, Range{0, 1},
                "adalrs: each adjustment moves less, by this factor");
}

void bind_diloco_family(Options& options, RunConfig::AlgorithmTable& algorithm) {
    options.add(
        kShared, "algorithm.fragments", &algorithm.fragments, Range{0, 1000},
        "streaming_diloco, async_diloco, decoupled_diloco: parts of the model that are exchanged each "
        "at its own time, or by a member of its own; 0 = one for every three layers");
    options.add(kShared, "algorithm.fragment_pattern", &algorithm.fragment_pattern,
                OneOf{{"strided", "sequential"}},
                "streaming_diloco, async_diloco, decoupled_diloco: strided: layer l in fragment l mod P; "
                "sequential: neighbours together");
    options.add(kShared, "algorithm.overlap_steps", &algorithm.overlap_steps, Range{0, 1e6},
                "streaming_diloco: inner steps taken while an exchange is under way (tau)");
    options.add(
        kShared, "algorithm.mixing", &algorithm.mixing, Range{0, 1},
        "streaming_diloco: how much of a fragment stays the member's own when the outer step comes in "
        "(alpha); 0 = nothing");
    options.add(kShared, "algorithm.quorum", &algorithm.quorum, Range{0, 1},
                "decoupled_diloco: fraction of the members that a fragment's outer step waits for");
    options.add(
        kShared, "algorithm.grace_seconds", &algorithm.grace_seconds, Range{0, 86400},
        "decoupled_diloco: how long at most an outer step waits for the others, once the quorum is there");
    options.add(
        kShared, "algorithm.dynamic_steps", &algorithm.dynamic_steps,
        "diloco, muloco, sparseloco, async_diloco: each member takes inner_steps in proportion to its "
        "measured speed");
}

void bind_algorithm(Options& options, RunConfig& config) {
    auto& algorithm = config.algorithm;
    options.add(kShared, "algorithm.name", &algorithm.name,
                "when replicas talk (atoll list algorithms); brings its paper's settings, also in the tables "
                "below, the other keys override");
    options.on_set("algorithm.name", [&config] {
        const auto entries = algorithms();
        const auto entry = std::ranges::find(entries, config.algorithm.name, &AlgorithmEntry::name);
        if (entry != entries.end() && entry->defaults != nullptr) entry->defaults(config);
    });
    options.add(kShared, "algorithm.inner_steps", &algorithm.inner_steps, Range{1, 1e6},
                "local steps between two exchanges (H)");
    options.add(kShared, "algorithm.outer_optimizer", &algorithm.outer_optimizer,
                "applies the averaged pseudo-gradient: nesterov, sgd, heavy_ball or adam");
    options.add(kShared, "algorithm.outer_learning_rate", &algorithm.outer_learning_rate, Range{0, 10},
                "rate of the outer step; 0.4, 0.6, 0.6, 0.8 suit 1, 2, 4, 8 members");
    options.add(kShared, "algorithm.outer_momentum", &algorithm.outer_momentum, Range{0, 0.999},
                "momentum of the outer step");
    options.add(kShared, "algorithm.outer_beta2", &algorithm.outer_beta2, Range{0, 0.99999},
                "outer optimizer adam: decay of the second moment");
    options.add(kShared, "algorithm.outer_epsilon", &algorithm.outer_epsilon, Range{1e-12, 1},
                "outer optimizer adam: added to the root of the second moment");
    options.add(kShared, "algorithm.anchor_slices", &algorithm.anchor_slices, Range{0, 1e6},
                "a round also averages one of so many slices of the anchors in fp32; 0 = off");
    bind_diloco_family(options, algorithm);
    options.add(kShared, "algorithm.perturbations", &algorithm.perturbations, Range{1, 1e4},
                "decomfl: directions a local step measures and averages");
    options.add(kShared, "algorithm.candidate_seeds", &algorithm.candidate_seeds, Range{1, 1e6},
                "fedkseed: directions that the whole run chooses from");
    options.add(kShared, "algorithm.consensus_rate", &algorithm.consensus_rate, Range{0, 2},
                "noloco, noloco_cascade: pull towards the anchors that a member meets (gamma)");
    options.add(kShared, "algorithm.momentum_decay", &algorithm.momentum_decay, Range{0, 0.999999},
                "demo: what is left of the momentum after a step");
    options.add(kShared, "algorithm.averaged_fraction", &algorithm.averaged_fraction, Range{1e-6, 1},
                "sparta: of the parameters, in a round");
    options.add(
        kShared, "algorithm.batches_max", &algorithm.batches_max, Range{0, 1e6},
        "acco, delayed_update: most batches taken in during one exchange; 0 = as many as there is time for");
    options.add(kShared, "algorithm.vote", &algorithm.vote, OneOf{{"majority", "average"}},
                "distributed_lion: what becomes of the members' signs");
    options.add(
        kShared, "algorithm.ties", &algorithm.ties, OneOf{{"alternate", "zero"}},
        "distributed_lion: a tied majority steps up and down in turn (1 bit down), or not at all (1.6 bits)");
}

void bind_federated(Options& options, RunConfig::AlgorithmTable::Federated& federated) {
    std::vector<std::string> laws;
    for (const auto& law : participation_laws()) laws.emplace_back(law.name);
    options.add(kShared, "algorithm.participation", &federated.participation, OneOf{laws},
                "federated algorithms: which clients take part in a round, beside those that are away");
    options.add(kShared, "algorithm.participation_count", &federated.participation_count, Range{0, 1e6},
                "uniform, cyclic, categorical: clients a round; 0 = a quarter of them");
    options.add(kShared, "algorithm.participation_low", &federated.participation_low, Range{0, 1},
                "bernoulli, markov, categorical: the clients' chances are spread from here ...");
    options.add(kShared, "algorithm.participation_high", &federated.participation_high, Range{0, 1},
                "... to here (markov: of coming back)");
    options.add(kShared, "algorithm.participation_stay", &federated.participation_stay, Range{0, 1},
                "markov: chance that a client that takes part does so in the next round too");
    options.add(kShared, "algorithm.participation_trace", &federated.participation_trace,
                "trace: file on the server, the numbers of one round's clients a line");
    options.add(kShared, "algorithm.server_learning_rate", &federated.server_learning_rate, Range{0, 100},
                "fedavg, fedavgm, fedadam, fedyogi, fedprox, scaffold, mifa, fedau: rate of the server's "
                "step; 0 = the algorithm's own");
    options.add(kShared, "algorithm.server_momentum", &federated.server_momentum, Range{0, 0.9999},
                "fedavgm: momentum; fedadam, fedyogi: decay of the first moment");
    options.add(kShared, "algorithm.server_beta2", &federated.server_beta2, Range{0, 0.99999},
                "fedadam, fedyogi: decay of the second moment");
    options.add(kShared, "algorithm.server_epsilon", &federated.server_epsilon, Range{1e-12, 1},
                "fedadam, fedyogi: added to the root of the second moment (tau)");
    options.add(kShared, "algorithm.proximal", &federated.proximal, Range{0, 1000},
                "fedprox: pull towards the model that the round began with (mu)");
    options.add(kShared, "algorithm.absence_rounds_max", &federated.absence_rounds_max, Range{1, 1e6},
                "fedau: longer absences count as so many rounds (K)");
    options.add(kShared, "algorithm.server_trains", &federated.server_trains,
                "federated algorithms: the server is a client too, with its own data");
    options.add(kShared, "algorithm.remember_clients", &federated.remember_clients,
                "focus, scaffold, mifa: the server keeps a vector a client, so that it can forget one");
    options.add(kShared, "algorithm.expiry_rounds", &federated.expiry_rounds, Range{0, kCountMax},
                "focus, scaffold, mifa: a client absent for so many rounds is forgotten; 0 = never");
    options.add(kShared, "algorithm.round_seconds", &federated.round_seconds, Range{0.01, 1e7},
                "federated algorithms: the server waits so long for the clients of a round");
    options.add(kShared, "algorithm.server_wait_seconds", &federated.server_wait_seconds, Range{0.01, 1e9},
                "federated algorithms: a client gives up when it has not heard of the server so long");
}

void bind_gossip(Options& options, RunConfig& config) {
    auto& averaging = config.averaging;
    options.add(kShared, "averaging.name", &averaging.name, "how the mean is formed (atoll list averaging)");
    options.add(kShared, "averaging.stages", &averaging.stages, Range{0, 64},
                "gossip exchanges a round; 0 = the algorithm's own: one, or one period of the topology");
    options.add(kShared, "averaging.deadline_seconds", &averaging.deadline_seconds, Range{0.01, 86400},
                "a gossip exchange never waits longer for a member");
    options.add(kShared, "averaging.norm_ratio_max", &averaging.norm_ratio_max, Range{1, kUnbounded},
                "refuse a share whose norm is more than so many times the own");
    options.add(kShared, "averaging.tolerance", &averaging.tolerance, Range{0, 1},
                "push_sum: mix until no two members that meet differ by more than this fraction of their "
                "norm; 0 = off");
    options.add(kShared, "averaging.trim_fraction", &averaging.trim_fraction, Range{0, 0.5},
                "trimmed_mean: fraction of the members left out at either end of each coordinate");
    options.add(kShared, "averaging.clip_radius", &averaging.clip_radius, Range{0, kUnbounded},
                "centered_clip: how far a member can pull; 0 = the radius that holds half of the members");
    options.add(kShared, "averaging.server", &averaging.server,
                "star: peer id (its first digits) of the member that serves; empty = the owner's node, else "
                "the first peer");
    options.add(kShared, "topology.name", &config.topology.name, "who sends to whom (atoll list topologies)");
    options.add(kShared, "topology.degree", &config.topology.degree, Range{1, 63},
                "peers a member sends to at once");
    options.add(kShared, "topology.rounding", &config.topology.rounding, OneOf{{"ceil", "floor"}},
                "k_peer_exponential: of its number of rounds; the paper has floor");
    options.add(kShared, "topology.order", &config.topology.order, OneOf{{"reordered", "paper"}},
                "null_cascade: of its rounds; reordered has those that mix fastest first");
    options.add(kShared, "topology.interval", &config.topology.interval, Range{1, 1e6},
                "hierarchical: rounds from one exchange across regions (local.region) to the next");
    options.add(kShared, "codec.name", &config.codec.name,
                "bits a value costs on the wire (atoll list codecs)");
    options.add(kShared, "codec.error_feedback", &config.codec.error_feedback,
                "what a codec lost is added to what is sent next");
    options.add(kShared, "codec.rounding", &config.codec.rounding, OneOf{{"nearest", "stochastic"}},
                "stochastic: at random so that the mean is exact (unbiased), where the codec can");
    options.add(kShared, "codec.density", &config.codec.density, Range{0, 1},
                "fraction of the values that a sparse codec sends; 0 = the codec's own");
    options.add(kShared, "codec.feedback_decay", &config.codec.feedback_decay, Range{0, 1},
                "what a codec lost is multiplied with this before it is sent next");
    options.add(kShared, "codec.rank", &config.codec.rank, Range{1, 1024}, "of the factors of low_rank");
}

}  // namespace

model::ModelConfig RunConfig::preset_of_default() {
    const auto preset = model::model_preset("tiny");
    ATOLL_CHECK(preset.ok());
    return *preset;
}

void take_defaults(RunConfig::Optimizer& optimizer) {
    const auto entries = model::optimizers();
    const auto entry = std::ranges::find(entries, optimizer.name, &model::OptimizerEntry::name);
    if (entry == entries.end()) return;
    optimizer.learning_rate = entry->learning_rate;
    optimizer.beta1 = entry->defaults.beta1;
    optimizer.beta2 = entry->defaults.beta2;
    optimizer.epsilon = entry->defaults.epsilon;
    optimizer.weight_decay = entry->defaults.weight_decay;
}

void bind(Options& options, RunConfig& config) {
    bind_run(options, config.run);
    bind_model(options, config);
    bind_data(options, config.data);
    bind_algorithm(options, config);
    bind_optimizer(options, config.optimizer);
    bind_schedule(options, config.schedule);
    bind_federated(options, config.algorithm.federated);
    bind_gossip(options, config);
}

std::int64_t schedule_steps(const RunConfig& config) {
    return config.schedule.steps > 0 ? config.schedule.steps
                                     : config.run.rounds * config.algorithm.inner_steps;
}

std::string to_text(const RunConfig& config) {
    RunConfig copy = config;
    Options options;
    bind(options, copy);
    return options.shared_toml();
}

Result<RunConfig> run_config_from_text(const std::string& text) {
    RunConfig config;
    Options options;
    bind(options, config);
    ATOLL_TRY(options.load_toml(text, "run configuration"));
    for (const auto& key : options.keys()) {
        if (key.origin.starts_with("run configuration")) continue;
        return Error{ErrorCode::invalid,
                     "run configuration: " + key.name + " is missing; expected every key of the run"};
    }
    ATOLL_TRY(validate(config));
    return config;
}

Hash run_id(const RunConfig& config) { return blake2b(as_byte_view(to_text(config))); }

}  // namespace Atoll::federation

// Cross-field checks of the run configuration.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include "federation/algorithm/algorithm.h"
#include "federation/names.h"
#include "federation/outer/outer.h"
#include "federation/replica_worker.h"
#include "federation/run_config.h"
#include "gossip/averaging/averaging.h"
#include "gossip/codec/codec.h"
#include "gossip/topology/topology.h"
#include "model/optim/optimizer.h"
#include "model/optim/schedule.h"
#include "model/optim/validate.h"

namespace Atoll::federation {

namespace {

template <typename... Args>
Error contradiction(fmt::format_string<Args...> format, Args&&... args) {
    return {ErrorCode::invalid, fmt::format(format, std::forward<Args>(args)...)};
}

Status validate_names(const RunConfig& config) {
    ATOLL_TRY(find_entry("algorithm.name", config.algorithm.name, algorithms()));
    ATOLL_TRY(find_entry("optimizer.name", config.optimizer.name, model::optimizers()));
    ATOLL_TRY(find_entry("schedule.name", config.schedule.name, model::schedules()));
    ATOLL_TRY(find_entry("averaging.name", config.averaging.name, gossip::averagings()));
    ATOLL_TRY(find_entry("topology.name", config.topology.name, gossip::topologies()));
    ATOLL_TRY(find_entry("codec.name", config.codec.name, gossip::codecs()));
    return {};
}

// The vocabulary a tokenizer's name implies; 0 for a file, whose vocabulary is known when it is read.
Result<std::int64_t> vocabulary_of(const std::string& tokenizer) {
    if (tokenizer == "byte") return std::int64_t{256};
    if (tokenizer.starts_with("bpe:")) {
        std::int64_t size = 0;
        const char* const end = tokenizer.data() + tokenizer.size();
        const auto [stop, error] = std::from_chars(tokenizer.data() + 4, end, size);
        if (error == std::errc() && stop == end && size > 256) return size;
        return contradiction("data.tokenizer = {}: expected bpe:N with N above 256, as bpe:4096", tokenizer);
    }
    if (tokenizer.ends_with(".json")) return std::int64_t{0};
    return contradiction("data.tokenizer = {}: expected byte, bpe:N or the path of a tokenizer.json",
                         tokenizer);
}

Status validate_model(const RunConfig& config) {
    ATOLL_TRY(model::validate(config.model));
    const model::TrainerOptions trainer = trainer_options(config);
    ATOLL_TRY(model::validate_optimizer(trainer.optimizer, trainer.optimizer_options, config.model));
    ATOLL_ASSIGN(const std::int64_t vocabulary, vocabulary_of(config.data.tokenizer));
    if (config.model.vocabulary < vocabulary) {
        return contradiction(
            "model.vocabulary = {} is too small for data.tokenizer = {}: expected at least {}",
            config.model.vocabulary, config.data.tokenizer, vocabulary);
    }
    const auto& optimizer = config.optimizer;
    if (optimizer.batch_sequences % optimizer.accumulation != 0) {
        return contradiction(
            "optimizer.batch_sequences = {} cannot be cut into optimizer.accumulation = {} equal "
            "micro-batches: expected "
            "a multiple",
            optimizer.batch_sequences, optimizer.accumulation);
    }
    ATOLL_ASSIGN(const model::OptimizerEntry* entry, model::find_optimizer(optimizer.name));
    if (entry->forward_only && optimizer.z_loss != 0) {
        return contradiction("optimizer.z_loss = {} but optimizer.name = {} takes no gradient: expected 0",
                             optimizer.z_loss, optimizer.name);
    }
    return {};
}

Status validate_search(const RunConfig& config) {
    const auto& schedule = config.schedule;
    const RunConfig::Schedule defaults;
    if (schedule.search == "none") {
        if (schedule.search_window != defaults.search_window) {
            return contradiction("schedule.search_window = {} but schedule.search = none: expected adalrs",
                                 schedule.search_window);
        }
        return {};
    }
    if (config.algorithm.name != "diloco") {
        return contradiction(
            "schedule.search = {} but algorithm.name = {}: expected diloco, whose merges are "
            "algorithm.inner_steps apart (a trial never crosses one), or schedule.search = none",
            schedule.search, config.algorithm.name);
    }
    if (config.algorithm.dynamic_steps) {
        return contradiction(
            "schedule.search = {} but algorithm.dynamic_steps = true: expected false, for rounds of equal "
            "length (a trial never crosses a merge)",
            schedule.search);
    }
    if (schedule.search_begin >= schedule.search_end) {
        return contradiction("schedule.search_begin = {} and schedule.search_end = {}: expected begin < end",
                             schedule.search_begin, schedule.search_end);
    }
    return {};
}

Status validate_schedule(const RunConfig& config) {
    const auto& schedule = config.schedule;
    const std::int64_t steps = schedule_steps(config);
    const std::string length = schedule.steps > 0
                                   ? fmt::format("schedule.steps = {}", steps)
                                   : fmt::format("run.rounds = {} times algorithm.inner_steps = {}",
                                                 config.run.rounds, config.algorithm.inner_steps);
    if (schedule.warmup_steps > 0 && schedule.warmup_steps >= steps) {
        return contradiction(
            "schedule.warmup_steps = {} leaves nothing of the {} steps of the schedule ({}): expected "
            "fewer than {}",
            schedule.warmup_steps, steps, length, steps);
    }
    const double warmup = static_cast<double>(schedule.warmup_steps) / static_cast<double>(steps);
    if (schedule.name == "wsd" && warmup + schedule.decay_fraction > 1) {
        return contradiction(
            "schedule.warmup_steps = {} and schedule.decay_fraction = {} overlap in a schedule of {} "
            "steps ({}): expected a decay_fraction of at most {:.3g}",
            schedule.warmup_steps, schedule.decay_fraction, steps, length, 1 - warmup);
    }
    return validate_search(config);
}

// Keys that the topology does not ask for must be as they are by default: somebody meant another topology.
Status validate_topology(const RunConfig::TopologyTable& topology) {
    ATOLL_ASSIGN(const gossip::TopologyEntry* entry,
                 find_entry("topology.name", topology.name, gossip::topologies()));
    if (entry->degree_max > 0 &&
        (topology.degree < entry->degree_min || topology.degree > entry->degree_max)) {
        return contradiction("topology.degree = {} does not suit topology.name = {}: expected {}",
                             topology.degree, topology.name, gossip::degree_bounds(*entry));
    }
    const RunConfig::TopologyTable defaults;
    if (topology.name != "k_peer_exponential" && topology.rounding != defaults.rounding) {
        return contradiction("topology.rounding = {} but topology.name = {}: expected k_peer_exponential",
                             topology.rounding, topology.name);
    }
    if (topology.name != "null_cascade" && topology.order != defaults.order) {
        return contradiction("topology.order = {} but topology.name = {}: expected null_cascade",
                             topology.order, topology.name);
    }
    if (topology.name != "hierarchical" && topology.interval != defaults.interval) {
        return contradiction("topology.interval = {} but topology.name = {}: expected hierarchical",
                             topology.interval, topology.name);
    }
    return {};
}

// Keys that only some algorithms, optimizers, outer optimizers or averaging schemes read.
struct Readers {
    std::string_view key;
    std::string_view of;  // the key that names the reader
    std::vector<std::string_view> names;
};
std::vector<std::string_view> served_algorithms() {
    std::vector<std::string_view> names;
    for (const AlgorithmEntry& entry : algorithms()) {
        if (entry.served) names.push_back(entry.name);
    }
    return names;
}
const std::vector<Readers>& readers() {
    static const std::vector<Readers> table = {
        {"algorithm.fragments", "algorithm.name", {"streaming_diloco", "async_diloco", "decoupled_diloco"}},
        {"algorithm.fragment_pattern",
         "algorithm.name",
         {"streaming_diloco", "async_diloco", "decoupled_diloco"}},
        {"algorithm.overlap_steps", "algorithm.name", {"streaming_diloco"}},
        {"algorithm.mixing", "algorithm.name", {"streaming_diloco"}},
        {"algorithm.quorum", "algorithm.name", {"decoupled_diloco"}},
        {"algorithm.grace_seconds", "algorithm.name", {"decoupled_diloco"}},
        {"algorithm.dynamic_steps", "algorithm.name", {"diloco", "muloco", "sparseloco", "async_diloco"}},
        {"algorithm.consensus_rate", "algorithm.name", {"noloco", "noloco_cascade"}},
        {"algorithm.momentum_decay", "algorithm.name", {"demo"}},
        {"algorithm.averaged_fraction", "algorithm.name", {"sparta"}},
        {"algorithm.perturbations", "algorithm.name", {"decomfl"}},
        {"algorithm.candidate_seeds", "algorithm.name", {"fedkseed"}},
        {"optimizer.perturbation", "optimizer.name", {"mezo", "dizo"}},
        {"optimizer.projection_interval", "optimizer.name", {"dizo"}},
        {"optimizer.projection_iterations", "optimizer.name", {"dizo"}},
        {"optimizer.projection_rate", "optimizer.name", {"dizo"}},
        {"optimizer.projection_perturbation", "optimizer.name", {"dizo"}},
        {"optimizer.projection_limit", "optimizer.name", {"dizo"}},
        {"optimizer.projection_tensors", "optimizer.name", {"dizo"}},
        {"algorithm.batches_max", "algorithm.name", {"acco", "delayed_update"}},
        {"algorithm.vote", "algorithm.name", {"distributed_lion"}},
        {"algorithm.ties", "algorithm.name", {"distributed_lion"}},
        {"algorithm.outer_beta2", "algorithm.outer_optimizer", {"adam"}},
        {"algorithm.outer_epsilon", "algorithm.outer_optimizer", {"adam"}},
        {"averaging.tolerance", "averaging.name", {"push_sum"}},
        {"averaging.trim_fraction", "averaging.name", {"trimmed_mean"}},
        {"averaging.clip_radius", "averaging.name", {"centered_clip"}},
        {"algorithm.server_learning_rate",
         "algorithm.name",
         {"fedavg", "fedavgm", "fedadam", "fedyogi", "fedprox", "fedau", "mifa", "scaffold"}},
        {"algorithm.server_momentum", "algorithm.name", {"fedavgm", "fedadam", "fedyogi"}},
        {"algorithm.server_beta2", "algorithm.name", {"fedadam", "fedyogi"}},
        {"algorithm.server_epsilon", "algorithm.name", {"fedadam", "fedyogi"}},
        {"algorithm.proximal", "algorithm.name", {"fedprox"}},
        {"algorithm.absence_rounds_max", "algorithm.name", {"fedau"}},
        {"algorithm.remember_clients", "algorithm.name", {"focus", "scaffold", "mifa"}},
        {"algorithm.expiry_rounds", "algorithm.name", {"focus", "scaffold", "mifa"}},
        {"algorithm.participation", "algorithm.name", served_algorithms()},
        {"algorithm.server_trains", "algorithm.name", served_algorithms()},
        {"algorithm.round_seconds", "algorithm.name", served_algorithms()},
        {"algorithm.server_wait_seconds", "algorithm.name", served_algorithms()},
        {"algorithm.participation_count", "algorithm.participation", {"uniform", "cyclic", "categorical"}},
        {"algorithm.participation_low", "algorithm.participation", {"bernoulli", "markov", "categorical"}},
        {"algorithm.participation_high", "algorithm.participation", {"bernoulli", "markov", "categorical"}},
        {"algorithm.participation_stay", "algorithm.participation", {"markov"}},
        {"algorithm.participation_trace", "algorithm.participation", {"trace"}},
        {"averaging.server", "averaging.name", {"star"}},
    };
    return table;
}

// Such a key must be as it is by default where nobody reads it: somebody meant another reader.
Status validate_readers(const RunConfig& config) {
    RunConfig set = config;
    RunConfig defaults;
    Options keys;
    Options default_keys;
    bind(keys, set);
    bind(default_keys, defaults);
    for (const Readers& row : readers()) {
        const std::string value = keys.find(row.key)->get();
        if (value == default_keys.find(row.key)->get()) continue;
        std::string reader = keys.find(row.of)->get();  // as TOML: in quotes
        std::erase(reader, '"');
        if (std::ranges::find(row.names, reader) != row.names.end()) continue;
        return contradiction("{} = {} but {} = {} does not read it: leave it out, or choose {}", row.key,
                             value, row.of, reader, fmt::join(row.names, " or "));
    }
    return {};
}

// The fewest peers that a member hears in a round, among 16 members in two regions.
std::size_t fewest_heard(const gossip::Topology& topology) {
    const gossip::Roster roster = gossip::Roster::of_sizes({8, 8});
    std::size_t fewest = roster.n;
    for (std::size_t round = 0; round < std::max(topology.period(roster), topology.rounds(roster)); ++round) {
        for (std::size_t i = 0; i < roster.n; ++i)
            fewest = std::min(fewest, topology.exchange(roster, i, round).receive.size());
    }
    return fewest;
}

Status validate_averaging(const RunConfig& config) {
    const auto& averaging = config.averaging;
    ATOLL_ASSIGN(const gossip::CodecEntry* codec,
                 find_entry("codec.name", config.codec.name, gossip::codecs()));
    if (averaging.tolerance > 0 && averaging.tolerance < codec->error_max) {
        return contradiction(
            "averaging.tolerance = {} is finer than codec.name = {} rounds: expected at least {:.2g}, or a "
            "finer codec",
            averaging.tolerance, codec->name, codec->error_max);
    }
    ATOLL_ASSIGN(const gossip::AveragingEntry* entry,
                 find_entry("averaging.name", averaging.name, gossip::averagings()));
    if (!entry->robust) return {};
    if (averaging.name == "trimmed_mean" && codec->sparse) {
        return contradiction(
            "averaging.name = trimmed_mean looks at single values and codec.name = {} sends few of them: "
            "expected another codec, or geometric_median or centered_clip",
            codec->name);
    }
    ATOLL_ASSIGN(const auto topology,
                 gossip::make_topology(config.topology.name, {.degree = config.topology.degree}));
    if (fewest_heard(*topology) < 2) {
        return contradiction(
            "averaging.name = {} needs a majority but with topology.name = {} and topology.degree = {} a "
            "member hears one other at a time: expected at least two, as with full",
            averaging.name, config.topology.name, config.topology.degree);
    }
    return {};
}

Status validate_exchange(const RunConfig& config) {
    const auto& algorithm = config.algorithm;
    ATOLL_ASSIGN(const AlgorithmEntry* entry, find_entry("algorithm.name", algorithm.name, algorithms()));
    if (entry->check != nullptr) ATOLL_TRY(entry->check(config));
    ATOLL_ASSIGN(const OuterEntry* outer,
                 find_entry("algorithm.outer_optimizer", algorithm.outer_optimizer, outer_optimizers()));
    if (!outer->uses_momentum && algorithm.outer_momentum != 0) {
        return contradiction(
            "algorithm.outer_optimizer = {} has no momentum but algorithm.outer_momentum = {}: expected "
            "0 (or the optimizer nesterov)",
            algorithm.outer_optimizer, algorithm.outer_momentum);
    }
    return {};
}

Status validate_codec(const RunConfig& config) {
    const auto entries = gossip::codecs();
    const auto codec = std::ranges::find(entries, config.codec.name, &gossip::CodecEntry::name);
    if (config.codec.rounding == "stochastic" && !codec->unbiased) {
        return contradiction(
            "codec.rounding = stochastic but codec.name = {} has no such variant: expected "
            "nearest, or one of none, int8_block, int4_block, e3m0, sign, ternary, random_k, seeds",
            config.codec.name);
    }
    if (codec->sparse && !config.codec.error_feedback && config.codec.rounding != "stochastic") {
        return contradiction(
            "codec.name = {} sends a part of each update and codec.error_feedback = false forgets "
            "the rest: expected error_feedback = true",
            config.codec.name);
    }
    return {};
}

}  // namespace

Status validate(const RunConfig& config) {
    ATOLL_TRY(validate_names(config));
    const std::string& initial = config.run.initial_model;
    if (!initial.empty() && (initial.size() != 2 * sizeof(Hash) ||
                             initial.find_first_not_of("0123456789abcdef") != std::string::npos)) {
        return contradiction(
            "run.initial_model = \"{}\": expected the {} hexadecimal digits that atoll grow and "
            "atoll import print as hash",
            initial, 2 * sizeof(Hash));
    }
    ATOLL_TRY(validate_model(config));
    ATOLL_TRY(validate_schedule(config));
    ATOLL_TRY(validate_codec(config));
    ATOLL_TRY(validate_topology(config.topology));
    ATOLL_TRY(validate_readers(config));
    ATOLL_TRY(validate_averaging(config));
    return validate_exchange(config);
}

}  // namespace Atoll::federation

// A run as an algorithm of the table accepts it.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "federation/algorithm/algorithm.h"
#include "federation/federated/method.h"
#include "federation/run_config.h"
#include "gossip/codec/codec.h"
#include "tests/federation/quadratic_worker.h"

namespace Atoll::federation::testing {

// Zeroth-order tuning: with half as many directions a step as parameters a step goes nearly as far as along
// the gradient; with one direction a step there must be many steps.
inline void suit_forward_only(RunConfig& config) {
    config.optimizer.name = "mezo";
    config.optimizer.clip_norm = 100;
    config.optimizer.learning_rate = 0.015;
    config.averaging.name = "all_reduce";
    config.codec.name = "none";
    config.schedule.name = "constant";
    if (config.algorithm.name != "decomfl") return;
    config.algorithm.perturbations = 32;
    config.optimizer.learning_rate = 0.2;
}

inline bool sparse(const std::string& codec) {
    return std::ranges::find(gossip::codecs(), codec, &gossip::CodecEntry::name)->sparse;
}

// Error feedback delays what a sparse codec leaves out, and outer momentum multiplies delayed updates: on a
// problem whose rounds go a large part of the way to the minimum both must be small
// (docs/explanation/diloco.md).
inline void suit_sparse_codec(RunConfig& config) {
    config.codec.density = 0.5;
    config.codec.error_feedback = true;
    if (config.algorithm.name == "demo" || config.algorithm.name == "sparseloco") return;  // made for them
    const AlgorithmEntry& entry =
        *std::ranges::find(algorithms(), config.algorithm.name, &AlgorithmEntry::name);
    if (entry.served || entry.steps_itself) return;  // takes no outer step
    config.algorithm.outer_optimizer = "sgd";
    config.algorithm.outer_learning_rate = 0.5;
    config.algorithm.outer_momentum = 0;
}

// `config` with the settings of its algorithm, as far as they suit a problem of 64 parameters, and with the
// averaging scheme, the optimizer and the outer rate that it asks for. The number of steps stays, their
// number a round where the algorithm lets one choose.
inline RunConfig suited(RunConfig config) {
    const std::string name = config.algorithm.name;
    const std::int64_t inner_steps = config.algorithm.inner_steps;
    const AlgorithmEntry& entry = *std::ranges::find(algorithms(), name, &AlgorithmEntry::name);
    if (entry.defaults != nullptr) entry.defaults(config);
    if (sparse(config.codec.name)) suit_sparse_codec(config);
    // Updates that come late are of use at a small outer rate only (docs/explanation/asynchronous.md).
    if (name == "streaming_diloco" || name == "async_diloco" || name == "decoupled_diloco") {
        config.algorithm.fragments = 2;
    }
    if (name == "async_diloco" || name == "decoupled_diloco") config.algorithm.outer_learning_rate = 0.2;
    config.algorithm.inner_steps = inner_steps;
    if (name == "demo") {
        config.algorithm.inner_steps = 1;
        config.run.rounds *= inner_steps;
    }
    if (find_method(name) != nullptr) {
        config.averaging.name = "star";
        config.schedule.name = "constant";
        // The server's own steps go by the schedule: it is the workers' rate. focus takes one step a round.
        config.optimizer.learning_rate = name == "focus" ? 0.9 : 0.1;
        // Momentum multiplies what error feedback delays, and the runs are short.
        if (name == "fedavgm") config.algorithm.federated.server_momentum = 0.5;
    }
    const bool overlaps = name == "acco" || name == "delayed_update";
    // How many batches fit into an exchange depends on the group.
    if (overlaps) config.algorithm.batches_max = 1;
    if (overlaps || name == "data_parallel" || name == "distributed_lion")
        config.averaging.name = "all_reduce";
    if (name == "distributed_lion") config.optimizer.name = "lion";
    if (validate(config).ok()) return config;
    config.optimizer.name = "sgd";
    config.optimizer.weight_decay = 0;
    config.optimizer.beta1 = 0;
    if (!validate(config).ok()) config.optimizer.beta1 = 0.5;
    if (!validate(config).ok()) suit_forward_only(config);
    return config;
}

// A worker with the optimizer of the run, whose gradient steps are good with the rate of `options`: a step
// along a sign does not get shorter near the minimum.
inline std::unique_ptr<QuadraticWorker> suited_worker(const RunConfig& config,
                                                      QuadraticWorker::Options options) {
    const bool lion = config.optimizer.name == "lion";
    if (lion) options.optimizer = "lion";
    if (lion || config.algorithm.name == "demo") options.learning_rate *= 0.2;
    return std::make_unique<QuadraticWorker>(options);
}

}  // namespace Atoll::federation::testing

// A run as an algorithm of the table accepts it.
#pragma once

#include "federation/run_config.h"

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

// `config` with the optimizer and the outer rate that its algorithm asks for.
inline RunConfig suited(RunConfig config) {
    // Updates that come late are of use at a small outer rate only (docs/explanation/asynchronous.md).
    const std::string& name = config.algorithm.name;
    if (name == "streaming_diloco" || name == "async_diloco" || name == "decoupled_diloco") {
        config.algorithm.fragments = 2;
    }
    if (name == "async_diloco" || name == "decoupled_diloco") config.algorithm.outer_learning_rate = 0.2;
    if (validate(config).ok()) return config;
    config.optimizer.name = "sgd";
    config.optimizer.weight_decay = 0;
    config.optimizer.beta1 = 0;
    if (!validate(config).ok()) config.optimizer.beta1 = 0.5;
    if (!validate(config).ok()) suit_forward_only(config);
    return config;
}

}  // namespace Atoll::federation::testing

// A run as an algorithm of the table accepts it.
#pragma once

#include "federation/run_config.h"

namespace Atoll::federation::testing {

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
    return config;
}

}  // namespace Atoll::federation::testing

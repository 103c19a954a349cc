// The coordinate check of muP (Yang et al. 2021): how large activations are after a few steps of Adam.
#pragma once

#include <cmath>
#include <memory>
#include <stdexcept>
#include <vector>

#include "model/trainer.h"
#include "tests/model/text_batches.h"

namespace Atoll::model {

// Mean size of the entries of the residual stream behind the last block, after `steps` steps at rate 1e-3, on
// batches of two sequences. Precondition: valid options; config.context is at least 32.
inline double mean_coordinate(kernels::Ops& ops, const ModelConfig& config, int steps) {
    constexpr std::int64_t kSequence = 32;
    TrainerOptions options;
    options.model = config;
    options.optimizer_options = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-12, .weight_decay = 0.1};
    options.learning_rate = 1e-3;
    options.batch_sequences = 2;
    options.sequence = kSequence;
    TextBatches text(4);
    const auto trainer = Trainer::make(ops, text, options).value();
    for (int i = 0; i < steps; ++i) {
        if (!trainer->inner_step()) throw std::runtime_error("a step of the coordinate check failed");
    }
    Transformer transformer(ops, config, {.rows_max = 2 * kSequence, .keep = Keep::nothing});
    TokenBatch batch{.batch = 2, .sequence = kSequence};
    if (!text.held_out(0, batch)) throw std::runtime_error("no held-out text");
    (void)transformer.forward(trainer->parameters(), batch);
    std::vector<float> stream(static_cast<std::size_t>(2 * kSequence * config.width));
    ops.copy_to_host(stream, transformer.final_stream());
    double sum = 0;
    for (const float value : stream) sum += std::abs(static_cast<double>(value));
    return sum / static_cast<double>(stream.size());
}

}  // namespace Atoll::model

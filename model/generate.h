// Sampling text from a model, one token at a time with a cache of keys and values.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/rng.h"
#include "kernels/ops.h"
#include "model/transformer.h"

namespace Atoll::model {

struct GenerateOptions {
    std::int64_t tokens = 128;  // to generate at most
    double temperature = 0.8;   // 0 = always the likeliest
    std::uint64_t seed = 1;
    std::int64_t vocabulary =
        0;  // only ids below it (the tokenizer's size, if the model's is padded); 0 = all
    std::int32_t stop_token = -1;  // generation ends before it; -1 = none
};

// The id drawn from softmax(logits / temperature) by `uniform` in [0, 1); the likeliest (the first of equals)
// at temperature 0. Precondition: logits is not empty.
[[nodiscard]] std::int32_t sample(std::span<const float> logits, double temperature, double uniform);

class Generator {
  public:
    // `ops` and `parameters` outlive the generator. Precondition: validate(config) is ok.
    Generator(kernels::Ops& ops, const ModelConfig& config, std::span<const float> parameters);

    // Continues `prompt`; returns the new tokens only. When the context is full, the later half of it is
    // kept. `on_token` (may be empty) sees each token as it comes; false ends generation. Errors (invalid):
    // empty prompt, an id outside the vocabulary, a wrong option; (failed) logits that are not finite.
    [[nodiscard]] Result<std::vector<std::int32_t>> generate(
        std::span<const std::int32_t> prompt, const GenerateOptions& options,
        const std::function<bool(std::int32_t)>& on_token = {});

  private:
    void reset();
    void advance(std::span<const std::int32_t> tokens);

    kernels::Ops& ops_;
    Transformer transformer_;
    std::span<const float> parameters_;
    std::size_t cache_floats_;
    std::shared_ptr<float[]> keys_, values_, device_logits_;
    std::vector<float> logits_;
    KvCache cache_;
};

}  // namespace Atoll::model

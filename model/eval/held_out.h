// How well a model predicts text it was not trained on: loss, perplexity, bits per byte.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/result.h"
#include "model/data/batch.h"
#include "model/tokenizer/tokenizer.h"
#include "model/transformer.h"

namespace Atoll::model {

struct HeldOutScore {
    std::uint64_t batches = 0;
    std::uint64_t tokens = 0;  // predicted
    std::uint64_t bytes = 0;   // of text that these tokens stand for; 0: not known
    double loss = 0;           // mean over tokens, nats

    [[nodiscard]] double perplexity() const;
    // Comparable between tokenizers, as a model with longer tokens has fewer of them to predict.
    // Precondition: bytes > 0.
    [[nodiscard]] double bits_per_byte() const;
};

// Over the first `count` held-out batches of `shape` (batch and sequence; the tokens are overwritten), until
// `go_on` (told the score so far) says no: then the error is interrupted. `tokenizer` counts the bytes;
// nullptr: they are not known. Precondition: transformer.forward() takes batches of this shape.
[[nodiscard]] Result<HeldOutScore> score_held_out(Transformer& transformer, std::span<const float> parameters,
                                                  BatchSource& data, TokenBatch& shape, std::uint64_t count,
                                                  const Tokenizer* tokenizer,
                                                  const std::function<bool(const HeldOutScore&)>& go_on);

}  // namespace Atoll::model

// A batch of tokens, and where batches come from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace Atoll::model {

// targets[i] is the token after inputs[i]; both [batch * sequence], row-major.
struct TokenBatch {
    std::int64_t batch = 0;
    std::int64_t sequence = 0;
    std::vector<std::int32_t> inputs;
    std::vector<std::int32_t> targets;
};

class BatchSource {
  public:
    virtual ~BatchSource() = default;
    // Fills `batch` (batch and sequence are set by the caller) with the next tokens; starts a new epoch in a
    // new order when the data is used up. Errors: data unreadable.
    [[nodiscard]] virtual Status next(TokenBatch& batch) = 0;
    // Position in the stream of batches, for checkpoints: seek(position()) continues with the same batches.
    [[nodiscard]] virtual std::uint64_t position() const = 0;
    virtual void seek(std::uint64_t position) = 0;
    // The `index`-th of count() fixed held-out batches of the caller's shape.
    [[nodiscard]] virtual Status held_out(std::uint64_t index, TokenBatch& batch) = 0;
    [[nodiscard]] virtual std::uint64_t held_out_count(std::int64_t batch, std::int64_t sequence) const = 0;
};

}  // namespace Atoll::model

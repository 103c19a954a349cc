// A rank's part of its node's batches: the sequences that one rank alone would take are dealt out, in order.
#pragma once

#include "model/data/batch.h"

namespace Atoll::model {

// With n ranks a batch of b sequences here is one of n b there, of which rank r has the sequences r b .. (r +
// 1) b. Positions are those of the source, so that they are the same at all ranks and with any number of
// ranks.
class RankPart final : public BatchSource {
  public:
    // `source` outlives the object. Precondition: it counts sequences in position(), and its held-out batches
    // follow each other, as model::Loader's do.
    RankPart(BatchSource& source, int rank, int ranks)
        : source_(source),
          rank_(static_cast<std::uint64_t>(rank)),
          ranks_(static_cast<std::uint64_t>(ranks)) {}

    [[nodiscard]] Status next(TokenBatch& batch) override;
    [[nodiscard]] std::uint64_t position() const override { return source_.position(); }
    void seek(std::uint64_t position) override { source_.seek(position); }
    [[nodiscard]] Status held_out(std::uint64_t index, TokenBatch& batch) override {
        return source_.held_out(index * ranks_ + rank_, batch);
    }
    [[nodiscard]] std::uint64_t held_out_count(std::int64_t batch, std::int64_t sequence) const override {
        return source_.held_out_count(batch * static_cast<std::int64_t>(ranks_), sequence);
    }

  private:
    BatchSource& source_;
    std::uint64_t rank_;
    std::uint64_t ranks_;
};

}  // namespace Atoll::model

// Batches from one short text held in memory: batch n is a pure function of (seed, n).
#pragma once

#include <string_view>

#include "base/rng.h"
#include "model/data/batch.h"

namespace Atoll::model {

class TextBatches final : public BatchSource {
  public:
    explicit TextBatches(std::uint64_t seed) : seed_(seed) {}

    Status next(TokenBatch& batch) override {
        fill(batch, Rng(seed_).split("train", position_++));
        return {};
    }
    std::uint64_t position() const override { return position_; }
    void seek(std::uint64_t position) override { position_ = position; }
    Status held_out(std::uint64_t index, TokenBatch& batch) override {
        fill(batch, Rng(seed_).split("held-out", index));
        return {};
    }
    std::uint64_t held_out_count(std::int64_t, std::int64_t) const override { return 4; }

  private:
    static void fill(TokenBatch& batch, Rng rng) {
        static constexpr std::string_view kText =
            "An island is a piece of land that the sea has not yet read. Between islands go boats, slowly, "
            "with few "
            "letters; on each of them people work long hours and write little. So a letter must say much in "
            "few words, "
            "and nobody may wait for a boat that the storm has taken. ";
        const auto at = [&](std::uint64_t i) { return static_cast<std::int32_t>(kText[i % kText.size()]); };
        batch.inputs.clear();
        batch.targets.clear();
        for (std::int64_t b = 0; b < batch.batch; ++b) {
            const std::uint64_t start = rng.below(kText.size());
            for (std::int64_t t = 0; t < batch.sequence; ++t) {
                batch.inputs.push_back(at(start + static_cast<std::uint64_t>(t)));
                batch.targets.push_back(at(start + static_cast<std::uint64_t>(t) + 1));
            }
        }
    }
    std::uint64_t seed_;
    std::uint64_t position_ = 0;
};

}  // namespace Atoll::model

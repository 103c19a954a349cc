// Real replicas, very small: a transformer on a synthetic language whose entropy is known.
#pragma once

#include <array>
#include <memory>

#include "base/rng.h"
#include "federation/replica_worker.h"
#include "kernels/ops.h"
#include "model/data/batch.h"

namespace Atoll::federation::testing {

// Each pair of symbols has four possible successors, with fixed chances: 1.06 nats a token at best.
class PairLanguage final : public model::BatchSource {
  public:
    static constexpr std::int64_t kSymbols = 16;
    static constexpr double kEntropy = 1.0627;  // of 0.6, 0.2, 0.15, 0.05

    explicit PairLanguage(std::uint64_t stream) : stream_(stream) {}
    Status next(model::TokenBatch& batch) override {
        fill(batch, Rng(stream_).split("train", position_++));
        return {};
    }
    std::uint64_t position() const override { return position_; }
    void seek(std::uint64_t position) override { position_ = position; }
    Status held_out(std::uint64_t index, model::TokenBatch& batch) override {
        fill(batch, Rng(0).split("held-out", index));
        return {};
    }
    std::uint64_t held_out_count(std::int64_t batch, std::int64_t) const override {
        return 64 / static_cast<std::uint64_t>(batch);
    }

  private:
    static std::int32_t successor(std::int32_t a, std::int32_t b, Rng& rng) {
        const double u = rng.uniform();
        const std::uint64_t rank = u < 0.6 ? 0 : u < 0.8 ? 1 : u < 0.95 ? 2 : 3;
        const std::uint64_t pair = static_cast<std::uint64_t>(a) * kSymbols + static_cast<std::uint64_t>(b);
        return static_cast<std::int32_t>((mix64(pair) + 5 * rank) %
                                         kSymbols);  // 5 is odd: four different symbols
    }
    static void fill(model::TokenBatch& batch, Rng rng) {
        batch.inputs.clear();
        batch.targets.clear();
        for (std::int64_t i = 0; i < batch.batch; ++i) {
            auto a = static_cast<std::int32_t>(rng.below(kSymbols));
            auto b = static_cast<std::int32_t>(rng.below(kSymbols));
            for (std::int64_t t = 0; t < batch.sequence; ++t) {
                const std::int32_t c = successor(a, b, rng);
                batch.inputs.push_back(b);
                batch.targets.push_back(c);
                a = b;
                b = c;
            }
        }
    }
    std::uint64_t stream_;
    std::uint64_t position_ = 0;
};

inline model::ModelConfig smallest_model() {
    return {.family = "llama",
            .vocabulary = PairLanguage::kSymbols,
            .context = 32,
            .layers = 2,
            .heads = 2,
            .kv_heads = 2,
            .width = 32,
            .inner = 64,
            .head_dim = 16,
            .tied_head = false,
            .qk_norm = true};
}

// A worker that owns its trainer, data and operations.
class OwnedReplica : public ReplicaWorker {
  public:
    static std::unique_ptr<OwnedReplica> make(const RunConfig& config, std::uint64_t stream) {
        Parts parts{kernels::make_cpu_ops(1), std::make_unique<PairLanguage>(stream), nullptr};
        auto trainer = model::Trainer::make(*parts.ops, *parts.data, trainer_options(config));
        ATOLL_CHECK(trainer.ok());
        parts.trainer = std::move(*trainer);
        return std::unique_ptr<OwnedReplica>(new OwnedReplica(std::move(parts)));
    }
    [[nodiscard]] model::Trainer& trainer() { return *parts_.trainer; }

  private:
    struct Parts {
        std::unique_ptr<kernels::Ops> ops;
        std::unique_ptr<PairLanguage> data;
        std::unique_ptr<model::Trainer> trainer;
    };
    explicit OwnedReplica(Parts parts) : ReplicaWorker(*parts.trainer), parts_(std::move(parts)) {}
    Parts parts_;
};

}  // namespace Atoll::federation::testing

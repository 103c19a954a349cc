// The transformer: forward pass and hand-written backward pass over kernels::Ops. GPT-2 (learned positions,
// LayerNorm, GELU, biases) and Llama (RoPE, RMSNorm, SwiGLU, grouped queries, optional QK-norm) share one
// schedule.
//
// Parameters and gradients are flat vectors of layout(). After parameters were written, and before the next
// pass, call kernels::Ops::weights_changed(). A pass allocates nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"
#include "kernels/flat.h"
#include "kernels/ops.h"
#include "model/activations.h"
#include "model/config.h"
#include "model/data/batch.h"
#include "model/parameterization.h"
#include "model/weights.h"

namespace Atoll::model {

struct TransformerOptions {
    std::int64_t rows_max = 0;  // most tokens (batch * sequence) of one pass
    kernels::Precision precision = kernels::Precision::fp32;
    Keep keep = Keep::everything;
    double z_loss = 0;  // adds z_loss * logsumexp^2 to each training loss
};

// Keys and values of the tokens seen so far by one sequence, for generation: [layers][length_max, K, D] each,
// zero beyond `length`.
struct KvCache {
    float* keys = nullptr;
    float* values = nullptr;
    std::int64_t length = 0;
    std::int64_t length_max = 0;
};

class Transformer {
  public:
    // `ops` outlives this object. Preconditions: validate(config) is ok, options.rows_max > 0.
    Transformer(kernels::Ops& ops, const ModelConfig& config, const TransformerOptions& options);

    [[nodiscard]] const ModelConfig& config() const { return config_; }
    [[nodiscard]] const kernels::Layout& layout() const { return layout_; }
    [[nodiscard]] std::size_t activation_bytes() const { return activations_.bytes(); }

    // GPT-2's initialisation: matrices and embeddings N(0, init_std), those that write into the residual
    // stream N(0, init_std / sqrt(2 layers)), biases 0, norms 1, each times what the parameterization asks
    // for. Each tensor draws from its own stream, split by its name.
    void initialize(std::span<float> parameters, const Rng& rng) const;

    // Mean cross-entropy over the targets that are not -1, in nats (without the z-loss); 0 if there are none.
    // Precondition: token ids are inside the vocabulary, batch.sequence <= config.context.
    [[nodiscard]] double forward(std::span<const float> parameters, const TokenBatch& batch);

    // The mean training loss (with the z-loss); gradients (+)= its gradient * scale. The first of several
    // accumulated micro-batches overwrites.
    enum class Accumulate { no, yes };
    double forward_backward(std::span<const float> parameters, std::span<float> gradients,
                            const TokenBatch& batch, double scale = 1,
                            Accumulate accumulate = Accumulate::no);

    // The residual stream after the last block, [batch * sequence, C], of the last pass: what a coordinate
    // check looks at. Device memory, valid until the next pass.
    [[nodiscard]] const float* final_stream() const { return activations_.final_stream; }

    // Draws targets from the model's own predictions for `batch` (its inputs; 1 number of `rng` for each row
    // in order), as the Gauss-Newton-Bartlett estimate of curvature wants them.
    void sample_targets(std::span<const float> parameters, const TokenBatch& batch, Rng& rng,
                        std::vector<std::int32_t>& targets);

    // Appends `tokens` of one sequence to `cache` and writes the logits after the last of them to `logits`
    // [V], device memory. More than one token at a time only into an empty cache.
    void advance(std::span<const float> parameters, std::span<const std::int32_t> tokens, KvCache& cache,
                 float* logits);

  private:
    struct Pass {
        const float* parameters = nullptr;
        float* gradients = nullptr;
        const std::int32_t* tokens = nullptr;
        kernels::Index batch = 0, sequence = 0;
        KvCache* cache = nullptr;
        bool overwrite = false;  // matrix gradients are written, not added to
        [[nodiscard]] kernels::Index rows() const { return batch * sequence; }
        [[nodiscard]] kernels::Index position() const { return cache != nullptr ? cache->length : 0; }
    };

    void forward_blocks(const Pass& pass);
    void attention_forward(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                           std::int64_t block);
    void attend_cached(const Pass& pass, const Heads& heads, float* attended, std::int64_t block);
    void mlp_forward(const Pass& pass, const BlockWeights& w, const BlockActivations& a);
    void activate(const Pass& pass, const BlockActivations& a);
    void backward_blocks(const Pass& pass);
    void attention_backward(const Pass& pass, const BlockWeights& w, const BlockActivations& a);
    void project_backward_apart(const Pass& pass, const BlockWeights& w, const BlockActivations& a);
    void mlp_backward(const Pass& pass, const BlockWeights& w, const BlockActivations& a);
    [[nodiscard]] double head(const Pass& pass, const std::vector<std::int32_t>& targets, double z_loss,
                              double scale);

    // y = norm(x [+ residual_in]); the sum, if any, goes to residual_out.
    void norm_forward(const Pass& pass, const Affine& norm, const float* x, const float* residual_in,
                      float* residual_out, float* y, float* mean, float* rstd);
    // From the gradient of y in `branch` to the gradient of x in `stream_gradient`. x: what was normalised.
    void norm_backward(const Pass& pass, const Affine& norm, const float* x, const float* mean,
                       const float* rstd, bool accumulate);
    // y[N,out] = x[N,in] W^T + bias
    void linear_forward(const Pass& pass, const float* weight, const float* bias, const float* x, float* y,
                        kernels::Index in, kernels::Index out);
    // For `out` rows of the linear map from `first_row` on: d_x = d_y W (+= after the first row), d_W (+)=
    // d_y^T x, d_bias += column sums of d_y.
    void linear_backward(const Pass& pass, const Affine& linear, kernels::Index first_row, const float* x,
                         const float* d_y, float* d_x, kernels::Index in, kernels::Index out);
    [[nodiscard]] kernels::Attention attention_call(const Pass& pass, const BlockActivations& a) const;
    void rope(const Pass& pass, float* x, kernels::Index heads, kernels::Index stride, bool inverse);

    kernels::Ops& ops_;
    ModelConfig config_;
    TransformerOptions options_;
    kernels::Layout layout_;
    Weights weights_;
    Activations activations_;
    bool llama_;
    kernels::Index q_width_, kv_width_, hidden_width_;
    std::vector<std::span<const kernels::TensorSlot>>
        added_gradients_;  // runs of slots whose gradients are only added to
};

}  // namespace Atoll::model

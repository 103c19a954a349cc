// Targets drawn from the model's own predictions.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/transformer.h"

namespace Atoll::model {

using kernels::Index;

namespace {

// Index of a token drawn with probabilities softmax(logits); u is uniform in [0, 1).
std::int32_t draw(std::span<const float> logits, double u) {
    const double largest = static_cast<double>(*std::ranges::max_element(logits));
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
    double left = u * sum;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        left -= std::exp(static_cast<double>(logits[i]) - largest);
        if (left < 0) return static_cast<std::int32_t>(i);
    }
    return static_cast<std::int32_t>(logits.size() - 1);
}

}  // namespace

void Transformer::sample_targets(std::span<const float> parameters, const TokenBatch& batch, Rng& rng,
                                 std::vector<std::int32_t>& targets) {
    ATOLL_CHECK(parameters.size() == layout_.size());
    const Pass pass{.parameters = parameters.data(),
                    .tokens = batch.inputs.data(),
                    .batch = batch.batch,
                    .sequence = batch.sequence};
    forward_blocks(pass);
    const auto vocabulary = static_cast<std::size_t>(config_.vocabulary);
    constexpr std::size_t kLogitsMax = std::size_t{1} << 22U;  // 16 MiB at a time
    const auto chunk = static_cast<Index>(std::max<std::size_t>(kLogitsMax / vocabulary, 1));
    const auto logits = ops_.allocate(static_cast<std::size_t>(std::min(chunk, pass.rows())) * vocabulary);
    std::vector<float> host(static_cast<std::size_t>(std::min(chunk, pass.rows())) * vocabulary);
    targets.resize(static_cast<std::size_t>(pass.rows()));
    for (Index first = 0; first < pass.rows(); first += chunk) {
        const Index rows = std::min(chunk, pass.rows() - first);
        ops_.matmul({.a = activations_.hidden + first * config_.width,
                     .b = weights_.head.in(parameters.data()),
                     .c = logits.get(),
                     .m = rows,
                     .n = config_.vocabulary,
                     .k = config_.width,
                     .transpose_b = true,
                     .precision = options_.precision,
                     .b_is_weight = true});
        ops_.copy_to_host(std::span(host).first(static_cast<std::size_t>(rows) * vocabulary), logits.get());
        for (Index row = 0; row < rows; ++row) {
            targets[static_cast<std::size_t>(first + row)] =
                draw(std::span(host).subspan(static_cast<std::size_t>(row) * vocabulary, vocabulary),
                     rng.uniform());
        }
    }
}

}  // namespace Atoll::model

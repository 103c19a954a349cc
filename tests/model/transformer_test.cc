// The whole transformer against an independent double-precision forward pass: loss, and every tensor's
// gradient by central differences, for both families and every option.
#include "model/transformer.h"
#include "model/optim/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tests/model/reference_transformer.h"

namespace Atoll::model {
namespace {

struct Case {
    std::string name;
    ModelConfig config;
    Keep keep = Keep::everything;
};

ModelConfig small(const std::string& family, bool tied, bool qk_norm, std::int64_t kv_heads,
                  std::int64_t head_dim = 8) {
    return {.family = family,
            .vocabulary = 37,
            .context = 12,
            .layers = 2,
            .heads = 4,
            .kv_heads = kv_heads,
            .width = 32,
            .inner = 48,
            .head_dim = head_dim,
            .tied_head = tied,
            .qk_norm = qk_norm};
}

const std::vector<Case>& cases() {
    static const std::vector<Case> all = {
        {"gpt2_tied", small("gpt2", true, false, 4)},
        {"gpt2_untied", small("gpt2", false, false, 4)},
        {"gpt2_recomputed", small("gpt2", true, false, 4), Keep::expensive},
        {"llama_untied", small("llama", false, false, 4)},
        {"llama_tied_grouped", small("llama", true, false, 2)},
        {"llama_qk_norm", small("llama", true, true, 4)},
        {"llama_qk_norm_grouped_wide_heads", small("llama", false, true, 1, 16)},
        {"llama_recomputed", small("llama", true, true, 2), Keep::expensive},
    };
    return all;
}

TokenBatch random_batch(const ModelConfig& config, std::int64_t batch, std::int64_t sequence,
                        std::uint64_t seed) {
    TokenBatch tokens{.batch = batch, .sequence = sequence};
    Rng rng(seed);
    for (std::int64_t i = 0; i < batch * sequence; ++i) {
        tokens.inputs.push_back(
            static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(config.vocabulary))));
        tokens.targets.push_back(
            static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(config.vocabulary))));
    }
    return tokens;
}

// Nothing at its special initial value (norms 1, biases 0) and large enough that every path matters.
kernels::FlatBuffer random_parameters(const Transformer& model, std::uint64_t seed) {
    kernels::FlatBuffer parameters(model.layout().size());
    model.initialize(parameters.span(), Rng(seed));
    Rng rng = Rng(seed).split("noise");
    for (const auto& slot : model.layout().slots()) {
        for (float& value : parameters.span().subspan(slot.offset, slot.size)) {
            value += static_cast<float>(0.15 * rng.normal());
        }
    }
    return parameters;
}

class TransformerCase : public testing::TestWithParam<Case> {
  protected:
    TransformerCase() : ops_(kernels::make_cpu_ops(2)) {}
    Transformer make(std::int64_t rows_max, double z_loss = 0) {
        return {*ops_, GetParam().config, {.rows_max = rows_max, .keep = GetParam().keep, .z_loss = z_loss}};
    }
    std::unique_ptr<kernels::Ops> ops_;
};

TEST_P(TransformerCase, Loss_and_gradient_agree_with_the_reference_in_double) {
    constexpr double kZLoss = 0.01;
    Transformer model = make(3 * 12, kZLoss);  // room for more rows than the batch has
    const kernels::FlatBuffer parameters = random_parameters(model, 1);
    kernels::FlatBuffer gradients(model.layout().size());
    TokenBatch batch = random_batch(model.config(), 2, 11, 2);
    batch.targets[5] = -1;
    ops_->weights_changed();
    const double loss = model.forward_backward(parameters.span(), gradients.span(), batch);

    ReferenceTransformer reference(model.config(), model.layout());
    std::vector<double> exact(parameters.span().begin(), parameters.span().end());
    EXPECT_NEAR(loss, reference.loss(exact, batch, kZLoss), 2e-5);
    EXPECT_NEAR(model.forward(parameters.span(), batch), reference.loss(exact, batch), 2e-5);

    Rng rng(3);
    for (const auto& slot : model.layout().slots()) {
        double largest = 0;
        for (std::size_t i = 0; i < slot.size; ++i) {
            largest = std::max(largest, std::abs(static_cast<double>(gradients.span()[slot.offset + i])));
        }
        EXPECT_GT(largest, 1e-4) << slot.name << " has no gradient to speak of: the test would prove nothing";
        for (int sample = 0; sample < 8; ++sample) {
            const std::size_t at = slot.offset + rng.below(slot.size);
            constexpr double kStep = 1e-4;
            const double value = exact[at];
            exact[at] = value + kStep;
            const double above = reference.loss(exact, batch, kZLoss);
            exact[at] = value - kStep;
            const double below = reference.loss(exact, batch, kZLoss);
            exact[at] = value;
            EXPECT_NEAR(gradients.span()[at], (above - below) / (2 * kStep), 1e-4 * largest + 1e-6)
                << slot.name << " element " << at - slot.offset;
        }
    }
}

TEST_P(TransformerCase, Micro_batches_add_up_to_the_large_batch) {
    Transformer model = make(4 * 8);
    const kernels::FlatBuffer parameters = random_parameters(model, 4);
    kernels::FlatBuffer whole(model.layout().size());
    kernels::FlatBuffer parts(model.layout().size());
    const TokenBatch batch = random_batch(model.config(), 4, 8, 5);
    ops_->weights_changed();
    const double loss = model.forward_backward(parameters.span(), whole.span(), batch);
    for (float& value : parts.span())
        value = 7;  // left-overs of the last step: the first part must overwrite them
    double mean = 0;
    for (int i = 0; i < 4; ++i) {
        TokenBatch part{.batch = 1, .sequence = 8};
        part.inputs.assign(batch.inputs.begin() + i * 8, batch.inputs.begin() + (i + 1) * 8);
        part.targets.assign(batch.targets.begin() + i * 8, batch.targets.begin() + (i + 1) * 8);
        mean += model.forward_backward(parameters.span(), parts.span(), part, 0.25,
                                       i == 0 ? Transformer::Accumulate::no : Transformer::Accumulate::yes) /
                4;
    }
    EXPECT_NEAR(mean, loss, 1e-5);
    for (const auto& slot : model.layout().slots()) {
        for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
            ASSERT_NEAR(parts.span()[i], whole.span()[i], 1e-5) << slot.name;
        }
    }
}

TEST_P(TransformerCase, The_same_pass_twice_gives_the_same_bits) {
    Transformer model = make(2 * 12);
    const kernels::FlatBuffer parameters = random_parameters(model, 6);
    kernels::FlatBuffer first(model.layout().size());
    kernels::FlatBuffer second(model.layout().size());
    const TokenBatch batch = random_batch(model.config(), 2, 12, 7);
    const TokenBatch other = random_batch(model.config(), 1, 5, 8);
    ops_->weights_changed();
    const double loss = model.forward_backward(parameters.span(), first.span(), batch);
    (void)model.forward(parameters.span(), other);
    EXPECT_EQ(model.forward_backward(parameters.span(), second.span(), batch), loss);
    for (std::size_t i = 0; i < first.size(); ++i) ASSERT_EQ(first.span()[i], second.span()[i]);
}

TEST_P(TransformerCase, Gradient_descent_overfits_one_batch) {
    Transformer model = make(2 * 8);
    kernels::FlatBuffer parameters(model.layout().size());
    kernels::FlatBuffer gradients(model.layout().size());
    model.initialize(parameters.span(), Rng(9));
    const TokenBatch batch = random_batch(model.config(), 2, 8, 10);
    const auto optimizer =
        make_optimizer("adamw", *ops_, model.layout(), OptimizerOptions{.weight_decay = 0}).value();
    double first = 0;
    double last = 0;
    for (std::int64_t step = 1; step <= 150; ++step) {
        ops_->weights_changed();
        last = model.forward_backward(parameters.span(), gradients.span(), batch);
        if (step == 1) first = last;
        optimizer->step({.parameters = parameters.span(),
                         .gradients = gradients.span(),
                         .learning_rate = 1e-2,
                         .step = step});
    }
    EXPECT_NEAR(first, std::log(37.0), 0.3);  // an untrained model knows nothing
    EXPECT_LT(last, 0.02);
}

TEST_P(TransformerCase, A_cache_gives_the_logits_of_the_whole_sequence) {
    Transformer model = make(12);
    const kernels::FlatBuffer parameters = random_parameters(model, 11);
    const ModelConfig& config = model.config();
    const TokenBatch batch = random_batch(config, 1, 12, 12);
    ops_->weights_changed();
    ReferenceTransformer reference(config, model.layout());
    const std::vector<double> exact(parameters.span().begin(), parameters.span().end());
    const auto expected = reference.logits(exact, batch.inputs);

    const std::size_t cached =
        static_cast<std::size_t>(config.layers * 12 * config.kv_heads * config.head_dim);
    const auto keys = ops_->allocate(cached);
    const auto values = ops_->allocate(cached);
    const auto logits = ops_->allocate(static_cast<std::size_t>(config.vocabulary));
    KvCache cache{.keys = keys.get(), .values = values.get(), .length = 0, .length_max = 12};
    const std::span<const std::int32_t> tokens = batch.inputs;
    std::size_t seen = 0;
    for (const std::size_t count : {5U, 1U, 1U, 1U, 1U, 1U, 1U, 1U}) {
        model.advance(parameters.span(), tokens.subspan(seen, count), cache, logits.get());
        seen += count;
        for (std::size_t id = 0; id < expected[seen - 1].size(); ++id) {
            ASSERT_NEAR(logits.get()[id], expected[seen - 1][id], 1e-4)
                << "after " << seen << " tokens, id " << id;
        }
    }
    EXPECT_EQ(cache.length, 12);
}

INSTANTIATE_TEST_SUITE_P(families, TransformerCase, testing::ValuesIn(cases()),
                         [](const auto& one) { return one.param.name; });

TEST(Transformer, Initialisation_follows_gpt2) {
    const auto ops = kernels::make_cpu_ops(1);
    ModelConfig config{.layers = 8};
    const Transformer model(*ops, config, {.rows_max = 1, .keep = Keep::nothing});
    kernels::FlatBuffer parameters(model.layout().size());
    model.initialize(parameters.span(), Rng(1));
    const auto deviation = [&](const char* name) {
        const auto* slot = model.layout().find(name);
        return std::sqrt(ops->squared_norm(parameters.data() + slot->offset, slot->size) /
                         static_cast<double>(slot->size));
    };
    EXPECT_NEAR(deviation("transformer.h.3.attn.c_attn.weight"), 0.02, 0.0005);
    EXPECT_NEAR(deviation("transformer.h.3.mlp.c_proj.weight"), 0.02 / 4, 0.0002);  // sqrt(2 * 8 layers) = 4
    EXPECT_EQ(deviation("transformer.h.3.ln_1.weight"), 1);
    EXPECT_EQ(deviation("transformer.h.3.ln_1.bias"), 0);
}

TEST(Transformer, Keeping_less_takes_less_memory) {
    const auto ops = kernels::make_cpu_ops(1);
    const auto bytes = [&](Keep keep) {
        return Transformer(*ops, ModelConfig{.layers = 12}, {.rows_max = 256, .keep = keep})
            .activation_bytes();
    };
    EXPECT_LT(static_cast<double>(bytes(Keep::expensive)),
              0.75 * static_cast<double>(bytes(Keep::everything)));
    EXPECT_LT(static_cast<double>(bytes(Keep::nothing)), 0.5 * static_cast<double>(bytes(Keep::expensive)));
}

}  // namespace
}  // namespace Atoll::model

// muP and CompleteP: the table of the paper in double precision against the trainer, the base shape, and the
// coordinate check: activations that neither width nor depth blows up.
#include "model/parameterization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "model/trainer.h"
#include "tests/model/coordinate.h"
#include "tests/model/text_batches.h"

namespace Atoll::model {
namespace {

ModelConfig shape(const std::string& family, std::int64_t width, std::int64_t layers,
                  const std::string& parameterization) {
    return {.family = family,
            .vocabulary = 128,
            .context = 32,
            .layers = layers,
            .heads = width / 16,
            .kv_heads = width / 16,
            .width = width,
            .inner = 4 * width,
            .head_dim = 16,
            .tied_head = family == "gpt2",
            .parameterization = parameterization,
            .base_width = 32,
            .base_layers = 2};
}

TrainerOptions options_for(const ModelConfig& model) {
    TrainerOptions options;
    options.model = model;
    options.optimizer_options = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = 0.1};
    options.learning_rate = 1e-3;
    options.batch_sequences = 4;
    return options;
}

std::unique_ptr<Trainer> trained(kernels::Ops& ops, const TrainerOptions& options, int steps,
                                 std::vector<double>* losses = nullptr) {
    TextBatches data(4);
    auto trainer = Trainer::make(ops, data, options).value();
    for (int i = 0; i < steps; ++i) {
        const auto step = trainer->inner_step();
        EXPECT_TRUE(step.ok()) << step.error().message;
        if (losses != nullptr) losses->push_back(step->loss);
    }
    return trainer;
}

TEST(Parameterization, At_the_base_shape_all_three_are_the_same_bit_for_bit) {
    const auto ops = kernels::make_cpu_ops(2);
    for (const std::string family : {"gpt2", "llama"}) {
        std::vector<double> standard, mup, completep;
        trained(*ops, options_for(shape(family, 32, 2, "standard")), 10, &standard);
        trained(*ops, options_for(shape(family, 32, 2, "mup")), 10, &mup);
        trained(*ops, options_for(shape(family, 32, 2, "completep")), 10, &completep);
        EXPECT_EQ(standard, mup) << family;
        EXPECT_EQ(standard, completep) << family;
    }
}

// One row of table 1, by the kind of tensor its name says it is; `multiplier` is what the table puts into the
// forward pass behind the tensor.
struct Row {
    double deviation, rate, epsilon, decay, multiplier;
};

Row table_row(const std::string& name, double n, double l) {
    const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    const bool bias = name.ends_with("bias");
    if (has("wte") || has("wpe") || has("embed_tokens") || has("lm_head")) return {0.02, 1, 1 / n, 0.1, 1};
    if (has("ln_f") || name == "model.norm.weight") return {0, 1, 1 / n, 0, 1 / n};
    if (has("ln_") || has("layernorm")) return {0, 1, 1 / (n * l), 0, 1};
    const bool last = has("c_proj") || has("o_proj") || has("down_proj");
    const double base = last ? 0.02 / std::sqrt(2.0 * 2) : 0.02;  // of a base model of two layers
    return {base / std::sqrt(n), bias ? 1 : 1 / n, 1 / (n * l), bias ? 0 : 0.1 * n, last ? 1 / l : 1};
}

// Ten steps of AdamW on the table's own w, clipping included: what the trainer holds must be multiplier * w.
void expect_the_table(const std::string& family) {
    const auto ops = kernels::make_cpu_ops(2);
    TrainerOptions options = options_for(shape(family, 64, 6, "completep"));
    options.clip_norm = 0.05;  // clips every step
    const auto ours = trained(*ops, options, 0);
    Transformer transformer(*ops, options.model, {.rows_max = 4 * 32});
    const kernels::Layout& layout = transformer.layout();
    kernels::FlatBuffer x(layout.size()), gradient(layout.size());
    std::copy(ours->parameters().begin(), ours->parameters().end(), x.data());
    std::vector<Row> rows(layout.size());
    std::vector<double> w(layout.size()), m(layout.size()), v(layout.size());
    for (const auto& slot : layout.slots()) {
        const Row row = table_row(slot.name, 2, 3);
        double squares = 0;
        for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
            rows[i] = row;
            w[i] = static_cast<double>(x.span()[i]) / row.multiplier;
            squares += w[i] * w[i];
        }
        if (slot.shape.size() == 2) {
            const double deviation = std::sqrt(squares / static_cast<double>(slot.size));
            EXPECT_NEAR(deviation, row.deviation, 0.1 * row.deviation) << slot.name;
        } else {
            EXPECT_NEAR(squares / static_cast<double>(slot.size), slot.name.ends_with("bias") ? 0 : 1, 1e-6);
        }
    }
    TextBatches data(4);
    TokenBatch batch{.batch = 4, .sequence = 32};
    for (int t = 1; t <= 10; ++t) {
        ASSERT_TRUE(data.next(batch).ok());
        for (std::size_t i = 0; i < w.size(); ++i)
            x.span()[i] = static_cast<float>(rows[i].multiplier * w[i]);
        ops->weights_changed();
        (void)transformer.forward_backward(x.span(), gradient.span(), batch);
        std::vector<double> g(w.size());
        double squares = 0;
        for (std::size_t i = 0; i < w.size(); ++i) {
            g[i] = rows[i].multiplier * static_cast<double>(gradient.span()[i]);
            squares += g[i] * g[i];
        }
        for (std::size_t i = 0; i < w.size(); ++i) {
            const double clipped = g[i] * std::min(1.0, 0.05 / std::sqrt(squares));
            m[i] = 0.9 * m[i] + 0.1 * clipped;
            v[i] = 0.95 * v[i] + 0.05 * clipped * clipped;
            const double ratio = m[i] / (1 - std::pow(0.9, t)) /
                                 (std::sqrt(v[i] / (1 - std::pow(0.95, t))) + 1e-6 * rows[i].epsilon);
            w[i] -= 1e-3 * rows[i].rate * (ratio + rows[i].decay * w[i]);
        }
    }
    const auto end = trained(*ops, options, 10);
    double worst = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
        const double scale = rows[i].multiplier * rows[i].rate;
        const double distance = static_cast<double>(end->parameters()[i]) - rows[i].multiplier * w[i];
        worst = std::max(worst, std::abs(distance) / (1e-3 * scale));
    }
    EXPECT_LT(worst, 0.05) << family << ": in steps of the parameter's own rate";
}

TEST(Parameterization, Ten_steps_follow_the_papers_table) {
    expect_the_table("gpt2");
    expect_the_table("llama");
}

TEST(Parameterization, Every_tensor_has_a_scale_and_the_ranges_cover_the_vector) {
    const ModelConfig config = shape("gpt2", 128, 8, "completep");
    const auto ops = kernels::make_cpu_ops(1);
    const Transformer transformer(*ops, config, {.rows_max = 1});
    const auto scales = tensor_scales(config, transformer.layout());
    ASSERT_EQ(scales.size(), transformer.layout().slots().size());
    std::size_t covered = 0;
    for (const DecayRange& range : decay_ranges(transformer.layout(), scales)) covered += range.size;
    EXPECT_EQ(covered, transformer.layout().size());
}

TEST(Parameterization, Coordinate_check_over_depth_and_width) {
    const auto ops = kernels::make_cpu_ops(2);
    const auto ratio = [&](const char* rules, std::int64_t width, std::int64_t layers) {
        return mean_coordinate(*ops, shape("llama", width, layers, rules), 10) /
               mean_coordinate(*ops, shape("llama", 32, 2, rules), 10);
    };
    // Depth: flat under CompleteP (a factor of 3 at most), growing under the others.
    EXPECT_NEAR(std::log(ratio("completep", 32, 32)), 0, std::log(3));
    EXPECT_GT(ratio("standard", 32, 32), 4);
    EXPECT_GT(ratio("mup", 32, 32), 4);
    // Width: flat under both, growing under standard.
    for (const char* rules : {"mup", "completep"}) {
        EXPECT_NEAR(std::log(ratio(rules, 256, 2)), 0, std::log(2)) << rules;
    }
    EXPECT_GT(ratio("standard", 256, 2), 2.5);
}

TEST(Parameterization, An_optimizer_without_rules_is_refused_with_both_names) {
    const auto ops = kernels::make_cpu_ops(1);
    TextBatches data(1);
    TrainerOptions options = options_for(shape("llama", 32, 2, "completep"));
    options.optimizer = "muon";
    const auto trainer = Trainer::make(*ops, data, options);
    ASSERT_FALSE(trainer.ok());
    EXPECT_THAT(trainer.error().message, testing::HasSubstr("model.parameterization = completep"));
    EXPECT_THAT(trainer.error().message, testing::HasSubstr("optimizer.name = muon"));
    options.model.parameterization = "mu";
    EXPECT_THAT(Trainer::make(*ops, data, options).error().message,
                testing::HasSubstr("standard, mup or completep"));
}

}  // namespace
}  // namespace Atoll::model

#include "federation/algorithm/radial_directional.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace Atoll::federation {
namespace {

kernels::Layout layout() {
    kernels::Layout layout;
    layout.add("model.embed_tokens.weight", {4, 8});
    layout.add("model.layers.0.mlp.up_proj.weight", {6, 8});
    layout.add("model.norm.weight", {8});
    return layout;
}

// The formula itself, in double, tensor by tensor.
TEST(RadialDirectionalMean, Is_its_formula_and_plain_for_embeddings) {
    const kernels::Layout tensors = layout();
    const Fragment all = {{0, tensors.size()}};
    RadialDirectionalMean mean(tensors, all);
    EXPECT_TRUE(mean.empty());
    Rng rng(2);
    const std::vector<double> weights = {1, 0.5, 3};
    std::vector<std::vector<float>> vectors(3, std::vector<float>(tensors.size()));
    for (std::size_t m = 0; m < 3; ++m) {
        for (const auto& slot : tensors.slots()) {
            for (std::size_t i = 0; i < slot.size; ++i)
                vectors[m][slot.offset + i] = static_cast<float>((1.0 + double(m)) * rng.normal());
        }
        mean.add(vectors[m], weights[m]);
    }
    std::vector<float> out(tensors.size());
    mean.finish(out);
    EXPECT_TRUE(mean.empty());
    for (const auto& slot : tensors.slots()) {
        std::vector<double> sum(slot.size);
        double lengths = 0;
        for (std::size_t m = 0; m < 3; ++m) {
            double length = 0;
            for (std::size_t i = 0; i < slot.size; ++i)
                length += std::pow(double(vectors[m][slot.offset + i]), 2);
            length = std::sqrt(length);
            lengths += weights[m] * length / 4.5;
            const bool plain = slot.name == "model.embed_tokens.weight";
            for (std::size_t i = 0; i < slot.size; ++i)
                sum[i] += weights[m] * double(vectors[m][slot.offset + i]) / 4.5 / (plain ? 1 : length);
        }
        double length = 0;
        for (const double x : sum) length += x * x;
        const double factor = slot.name == "model.embed_tokens.weight" ? 1 : lengths / std::sqrt(length);
        for (std::size_t i = 0; i < slot.size; ++i)
            EXPECT_NEAR(out[slot.offset + i], factor * sum[i], 1e-5) << slot.name << " " << i;
    }
}

TEST(RadialDirectionalMean, Orthogonal_updates_keep_their_length_and_opposite_ones_cancel) {
    kernels::Layout tensors;
    tensors.add("x", {16});
    RadialDirectionalMean mean(tensors, {{0, 16}});
    std::vector<float> a(16), b(16), out(16, 7.0F);
    a[0] = 2;
    b[1] = 2;
    mean.add(a, 1);
    mean.add(b, 1);
    mean.finish(out);
    EXPECT_NEAR(out[0], std::sqrt(2), 1e-6);  // length 2, between the two; the plain mean has length sqrt 2
    EXPECT_NEAR(out[1], std::sqrt(2), 1e-6);
    b = a;
    b[0] = -2;
    mean.add(a, 1);
    mean.add(b, 1);
    mean.finish(out);
    EXPECT_EQ(out, std::vector<float>(16));
}

}  // namespace
}  // namespace Atoll::federation

// The truth itself: every backward of the reference against central differences of its forward.
#include "kernels/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/kernels/ops_fixture.h"

namespace Atoll::kernels::testing {
namespace {

double weighted(const Doubles& values, const Doubles& weights) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] * weights[i];
    return sum;
}

// gradient must be that of objective(x) at x.
void expect_gradient(const Doubles& x, const Doubles& gradient,
                     const std::function<double(const Doubles&)>& objective) {
    constexpr double kStep = 1e-5;
    for (std::size_t i = 0; i < x.size(); ++i) {
        Doubles up = x, down = x;
        up[i] += kStep;
        down[i] -= kStep;
        EXPECT_NEAR(gradient[i], (objective(up) - objective(down)) / (2 * kStep), 1e-8) << "element " << i;
    }
}

constexpr Index kRows = 3, kChannels = 7;
constexpr std::size_t kSize = kRows * kChannels;

TEST(Reference, Layernorm_gradients) {
    const Doubles x = random_doubles(kSize, 1), w = random_doubles(kChannels, 2),
                  b = random_doubles(kChannels, 3);
    const Doubles d_y = random_doubles(kSize, 4);
    Doubles y(kSize), mean(kRows), rstd(kRows);
    const auto objective = [&](const Doubles& at_x, const Doubles& at_w, const Doubles& at_b) {
        reference::layernorm_forward(at_x.data(), nullptr, nullptr, at_w.data(), at_b.data(), y.data(),
                                     mean.data(), rstd.data(), kRows, kChannels, 1e-5);
        return weighted(y, d_y);
    };
    objective(x, w, b);
    Doubles d_x(kSize), d_w(kChannels), d_b(kChannels);
    reference::layernorm_backward(x.data(), w.data(), mean.data(), rstd.data(), d_y.data(), d_x.data(),
                                  d_w.data(), d_b.data(), kRows, kChannels, false);
    expect_gradient(x, d_x, [&](const Doubles& at) { return objective(at, w, b); });
    expect_gradient(w, d_w, [&](const Doubles& at) { return objective(x, at, b); });
    expect_gradient(b, d_b, [&](const Doubles& at) { return objective(x, w, at); });
}

TEST(Reference, Rmsnorm_gradients) {
    const Doubles x = random_doubles(kSize, 1), w = random_doubles(kChannels, 2),
                  d_y = random_doubles(kSize, 4);
    Doubles y(kSize), rstd(kRows);
    const auto objective = [&](const Doubles& at_x, const Doubles& at_w) {
        reference::rmsnorm_forward(at_x.data(), nullptr, nullptr, at_w.data(), y.data(), rstd.data(), kRows,
                                   kChannels, 1e-5);
        return weighted(y, d_y);
    };
    objective(x, w);
    Doubles d_x(kSize), d_w(kChannels);
    reference::rmsnorm_backward(x.data(), w.data(), rstd.data(), d_y.data(), d_x.data(), d_w.data(), kRows,
                                kChannels, false);
    expect_gradient(x, d_x, [&](const Doubles& at) { return objective(at, w); });
    expect_gradient(w, d_w, [&](const Doubles& at) { return objective(x, at); });
}

TEST(Reference, Activation_gradients) {
    const Doubles x = random_doubles(24, 1, 2), d_y = random_doubles(24, 2);
    Doubles y(24), d_x(24);
    reference::gelu_backward(x.data(), d_y.data(), d_x.data(), 24);
    expect_gradient(x, d_x, [&](const Doubles& at) {
        reference::gelu_forward(at.data(), y.data(), 24);
        return weighted(y, d_y);
    });
    Doubles gated(12);
    const Doubles d_gated = random_doubles(12, 3);
    reference::swiglu_backward(x.data(), d_gated.data(), d_x.data(), 3, 4);
    expect_gradient(x, d_x, [&](const Doubles& at) {
        reference::swiglu_forward(at.data(), gated.data(), 3, 4);
        return weighted(gated, d_gated);
    });
}

// Rotation is orthogonal: its gradient is the inverse rotation.
TEST(Reference, Rope_gradient) {
    const Doubles x = random_doubles(2 * 3 * 2 * 4, 1), d_y = random_doubles(x.size(), 2),
                  frequencies = {1, 0.01};
    Doubles d_x = d_y;
    reference::rope(d_x.data(), frequencies.data(), 2, 3, 2, 4, 8, 5, true);
    expect_gradient(x, d_x, [&](Doubles at) {
        reference::rope(at.data(), frequencies.data(), 2, 3, 2, 4, 8, 5, false);
        return weighted(at, d_y);
    });
}

TEST(Reference, Embedding_gradients) {
    const std::vector<std::int32_t> tokens = {1, 0, 1, 3, 2, 1};
    const Doubles table = random_doubles(4 * 3, 1), positions = random_doubles(3 * 3, 2),
                  d_out = random_doubles(18, 3);
    Doubles d_table(table.size()), d_positions(positions.size()), out(18);
    reference::embedding_backward(tokens.data(), d_out.data(), d_table.data(), d_positions.data(), 2, 3, 3);
    const auto objective = [&](const Doubles& at_table, const Doubles& at_positions) {
        reference::embedding_forward(tokens.data(), at_table.data(), at_positions.data(), out.data(), 2, 3,
                                     3);
        return weighted(out, d_out);
    };
    expect_gradient(table, d_table, [&](const Doubles& at) { return objective(at, positions); });
    expect_gradient(positions, d_positions, [&](const Doubles& at) { return objective(table, at); });
}

TEST(Reference, Attention_gradients_with_grouped_queries) {
    const reference::AttentionShape shape{2, 4, 4, 2, 3, 24, 24, 24, 0.6};
    const Doubles qkv = random_doubles(2 * 4 * 24, 1), d_out = random_doubles(2 * 4 * 12, 2);
    Doubles out(d_out.size()), lse(2 * 4 * 4), d_qkv(qkv.size());
    reference::attention_backward(qkv.data(), qkv.data() + 12, qkv.data() + 18, d_out.data(), d_qkv.data(),
                                  d_qkv.data() + 12, d_qkv.data() + 18, shape);
    expect_gradient(qkv, d_qkv, [&](const Doubles& at) {
        reference::attention_forward(at.data(), at.data() + 12, at.data() + 18, out.data(), lse.data(),
                                     shape);
        return weighted(out, d_out);
    });
}

TEST(Reference, Head_loss_gradients_with_z_loss_and_ignored_rows) {
    const reference::HeadShape shape{4, 3, 5, 0.7, 0.05};
    const std::vector<std::int32_t> targets = {2, -1, 0, 4};
    const Doubles hidden = random_doubles(12, 1), head = random_doubles(15, 2);
    Doubles losses(4), d_hidden(12), d_head(15);
    reference::head_loss(hidden.data(), head.data(), targets.data(), losses.data(), d_hidden.data(),
                         d_head.data(), shape);
    const auto objective = [&](const Doubles& at_hidden, const Doubles& at_head) {
        reference::head_loss(at_hidden.data(), at_head.data(), targets.data(), losses.data(), nullptr,
                             nullptr, shape);
        return 0.7 * (losses[0] + losses[1] + losses[2] + losses[3]);
    };
    expect_gradient(hidden, d_hidden, [&](const Doubles& at) { return objective(at, head); });
    expect_gradient(head, d_head, [&](const Doubles& at) { return objective(hidden, at); });
}

TEST(Reference, Bias_gradient_is_that_of_a_product) {
    const Doubles a = random_doubles(6, 1), b = random_doubles(8, 2), bias = random_doubles(4, 3),
                  d_c = random_doubles(12, 4);
    Doubles c(12), d_bias(4);
    reference::bias_backward(d_c.data(), d_bias.data(), 3, 4);
    expect_gradient(bias, d_bias, [&](const Doubles& at) {
        reference::matmul(a.data(), b.data(), at.data(), c.data(), 3, 4, 2, false, false, false);
        return weighted(c, d_c);
    });
}

}  // namespace
}  // namespace Atoll::kernels::testing

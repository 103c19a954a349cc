#include <cmath>

#include "kernels/reference.h"
#include "tests/kernels/ops_fixture.h"

namespace Atoll::kernels::testing {
namespace {

using HeadLosses = OpsSuite;

std::size_t count(Index value) { return static_cast<std::size_t>(value); }

struct Case {
    reference::HeadShape shape;
    Doubles hidden, head;
    std::vector<std::int32_t> targets;
};

Case make_case(Index rows, Index channels, Index vocabulary, double z_loss) {
    Case c{{rows, channels, vocabulary, static_cast<double>(0.125F),
            static_cast<double>(static_cast<float>(z_loss))},
           random_doubles(count(rows * channels), 1),
           random_doubles(count(vocabulary * channels), 2),
           {}};
    for (Index i = 0; i < rows; ++i) {
        c.targets.push_back(i % 5 == 3 ? -1 : static_cast<std::int32_t>(i * 7 % vocabulary));
    }
    return c;
}

HeadLoss loss_of(const Case& c, Guarded& hidden, Guarded& head, Guarded& losses, Guarded* d_hidden,
                 Guarded* d_head) {
    return {.hidden = hidden.data(),
            .head = head.data(),
            .targets = c.targets.data(),
            .losses = losses.data(),
            .d_hidden = d_hidden == nullptr ? nullptr : d_hidden->data(),
            .d_head = d_head == nullptr ? nullptr : d_head->data(),
            .loss_scale = static_cast<float>(c.shape.loss_scale),
            .z_loss = static_cast<float>(c.shape.z_loss),
            .rows = c.shape.rows,
            .channels = c.shape.channels,
            .vocabulary = c.shape.vocabulary};
}

TEST_P(HeadLosses, Losses_and_gradients_equal_the_reference) {
    // The last is more than one chunk of rows: 16 MiB of logits are 262 rows.
    for (const auto& [rows, channels, vocabulary] : std::vector<std::tuple<Index, Index, Index>>{
             {1, 1, 1}, {1, 3, 2}, {7, 5, 13}, {40, 33, 257}, {600, 3, 16000}}) {
        for (const double z_loss : {0.0, 0.01}) {
            const Case c = make_case(rows, channels, vocabulary, z_loss);
            Doubles losses(count(rows)), d_hidden(c.hidden.size());
            Doubles d_head = random_doubles(c.head.size(), 3);
            Guarded device_hidden(*ops, c.hidden), device_head(*ops, c.head),
                device_losses(*ops, count(rows));
            Guarded device_d_hidden(*ops, Doubles(c.hidden.size(), 99)), device_d_head(*ops, d_head);
            ops->head_loss(
                loss_of(c, device_hidden, device_head, device_losses, &device_d_hidden, &device_d_head));
            reference::head_loss(c.hidden.data(), c.head.data(), c.targets.data(), losses.data(),
                                 d_hidden.data(), d_head.data(), c.shape);
            const std::string name = "V " + std::to_string(vocabulary) + " z " + std::to_string(z_loss);
            expect_close(device_losses, losses, 3e-6, "losses " + name);
            expect_close(device_d_hidden, d_hidden, 3e-6, "d_hidden " + name);
            expect_close(device_d_head, d_head, 3e-6, "d_head " + name);

            Guarded forward_only(*ops, count(rows));
            ops->head_loss(loss_of(c, device_hidden, device_head, forward_only, nullptr, nullptr));
            EXPECT_EQ(forward_only.floats(), device_losses.floats());
        }
    }
}

TEST_P(HeadLosses, A_zero_scale_gives_zero_gradients) {
    Case c = make_case(9, 4, 11, 0);
    c.shape.loss_scale = 0;
    Guarded hidden(*ops, c.hidden), head(*ops, c.head), losses(*ops, 9), d_hidden(*ops, c.hidden),
        d_head(*ops, c.head.size());
    ops->head_loss(loss_of(c, hidden, head, losses, &d_hidden, &d_head));
    expect_close(d_hidden, Doubles(c.hidden.size()), 0, "d_hidden");
    expect_close(d_head, Doubles(c.head.size()), 0, "d_head");
}

// A diverged model must be seen as one.
TEST_P(HeadLosses, Not_a_number_stays_one) {
    Case c = make_case(2, 8, 64, 0);
    c.hidden[3] = std::nan("");
    Guarded hidden(*ops, c.hidden), head(*ops, c.head), losses(*ops, 2);
    ops->head_loss(loss_of(c, hidden, head, losses, nullptr, nullptr));
    EXPECT_TRUE(std::isnan(losses.floats()[0]));
    EXPECT_FALSE(std::isnan(losses.floats()[1]));

    Case one_logit = make_case(2, 8, 64, 0);
    one_logit.head[8 * 63] = std::nan("");  // of no target
    Guarded fine(*ops, one_logit.hidden), broken(*ops, one_logit.head), all_broken(*ops, 2);
    ops->head_loss(loss_of(one_logit, fine, broken, all_broken, nullptr, nullptr));
    for (const float loss : all_broken.floats()) EXPECT_TRUE(std::isnan(loss));
}

// Operands rounded to bf16: 8 bits, so that errors are of the order of 2^-8 and not of 2^-23.
TEST_P(HeadLosses, Bf16_stays_near_the_reference) {
    const Case c = make_case(40, 64, 300, 0);
    Doubles losses(40), d_hidden(c.hidden.size()), d_head(c.head.size());
    Guarded hidden(*ops, c.hidden), head(*ops, c.head), device_losses(*ops, 40),
        device_d_hidden(*ops, c.hidden.size()), device_d_head(*ops, c.head.size());
    HeadLoss loss = loss_of(c, hidden, head, device_losses, &device_d_hidden, &device_d_head);
    loss.precision = Precision::bf16;
    ops->head_loss(loss);
    reference::head_loss(c.hidden.data(), c.head.data(), c.targets.data(), losses.data(), d_hidden.data(),
                         d_head.data(), c.shape);
    expect_close(device_losses, losses, 0.01, "losses");
    expect_close(device_d_hidden, d_hidden, 0.03, "d_hidden");
    expect_close(device_d_head, d_head, 0.03, "d_head");
}

INSTANTIATE_TEST_SUITE_P(Devices, HeadLosses, ::testing::ValuesIn(devices()), device_name);

}  // namespace
}  // namespace Atoll::kernels::testing

// Element-wise operations, norms, embedding, rotary positions, reductions and AdamW of every device against
// the double-precision reference.
#include <cmath>

#include "kernels/reference.h"
#include "tests/kernels/ops_fixture.h"

namespace Atoll::kernels::testing {
namespace {

using Operations = OpsSuite;

// Below, at and beyond the width of any vector register, and across the cut between threads.
const std::vector<std::size_t> kSizes = {1, 3, 8, 17, 31, 64, 1000, 20011};

std::size_t count(Index value) { return static_cast<std::size_t>(value); }

TEST_P(Operations, Memory_is_zeroed_and_copied_back) {
    const auto memory = ops->allocate(1000);
    std::vector<float> host(1000, 1);
    ops->copy_to_host(host, memory.get());
    EXPECT_EQ(host, std::vector<float>(1000, 0));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % 64, 0U);
}

TEST_P(Operations, Vector_arithmetic) {
    for (const std::size_t size : kSizes) {
        const Doubles x = random_doubles(size, 1);
        const Doubles y = random_doubles(size, 2);
        Guarded a(*ops, x), b(*ops, y), out(*ops, size);
        Doubles expected(size);
        ops->add(a.data(), b.data(), out.data(), size);
        for (std::size_t i = 0; i < size; ++i) expected[i] = x[i] + y[i];
        expect_close(out, expected, 1e-7, "add");
        ops->axpy(-2.5F, a.data(), b.data(), size);
        for (std::size_t i = 0; i < size; ++i) expected[i] = y[i] - 2.5 * x[i];
        expect_close(b, expected, 1e-7, "axpy");
        ops->scale(3.0F, a.data(), size);
        for (std::size_t i = 0; i < size; ++i) expected[i] = 3 * x[i];
        expect_close(a, expected, 1e-7, "scale");
        ops->fill(out.data(), 0.5F, size);
        expect_close(out, Doubles(size, 0.5), 0, "fill");
    }
}

TEST_P(Operations, Sums_are_accumulated_in_double) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{17}, std::size_t{300007}}) {
        Doubles x = random_doubles(size, 1);
        if (size > 2) x[1] = 1e8;  // swallows the rest in float
        Guarded device(*ops, x);
        double sum = 0;
        double squares = 0;
        for (const double value : x) {
            sum += value;
            squares += value * value;
        }
        EXPECT_NEAR(ops->sum(device.data(), size), sum, 1e-12 * std::max(1.0, std::abs(sum)));
        EXPECT_NEAR(ops->squared_norm(device.data(), size), squares, 1e-11 * std::max(1.0, squares));
    }
}

TEST_P(Operations, Gelu) {
    for (const std::size_t size : kSizes) {
        Doubles x = random_doubles(size, 1, 3);
        if (size >= 8) {
            x[0] = 0;
            x[1] = 30;
            x[2] = -30;
            x[3] = 1e-20;
            x[4] = -5.5;
        }
        const Doubles d_y = random_doubles(size, 2);
        Guarded device_x(*ops, x), device_d_y(*ops, d_y), y(*ops, size), d_x(*ops, size);
        Doubles expected(size);
        ops->gelu_forward(device_x.data(), y.data(), size);
        reference::gelu_forward(x.data(), expected.data(), size);
        expect_close(y, expected, 1e-6, "gelu");
        ops->gelu_backward(device_x.data(), device_d_y.data(), d_x.data(), size);
        reference::gelu_backward(x.data(), d_y.data(), expected.data(), size);
        expect_close(d_x, expected, 3e-6, "gelu backward");
        ops->gelu_backward(device_x.data(), device_d_y.data(), device_d_y.data(), size);
        expect_close(device_d_y, expected, 3e-6, "gelu backward in place");
    }
}

TEST_P(Operations, Swiglu) {
    for (const auto& [rows, inner] :
         std::vector<std::pair<Index, Index>>{{1, 1}, {3, 7}, {5, 64}, {65, 173}}) {
        const Doubles x = random_doubles(count(2 * rows * inner), 1, 4);
        const Doubles d_y = random_doubles(count(rows * inner), 2);
        Guarded device_x(*ops, x), device_d_y(*ops, d_y), y(*ops, d_y.size()), d_x(*ops, x.size());
        Doubles expected_y(d_y.size());
        Doubles expected_d_x(x.size());
        ops->swiglu_forward(device_x.data(), y.data(), rows, inner);
        reference::swiglu_forward(x.data(), expected_y.data(), rows, inner);
        expect_close(y, expected_y, 1e-6, "swiglu");
        ops->swiglu_backward(device_x.data(), device_d_y.data(), d_x.data(), rows, inner);
        reference::swiglu_backward(x.data(), d_y.data(), expected_d_x.data(), rows, inner);
        expect_close(d_x, expected_d_x, 1e-6, "swiglu backward");
    }
}

const std::vector<std::pair<Index, Index>> kRowShapes = {{1, 1}, {3, 7}, {16, 64}, {33, 130}, {600, 48}};

TEST_P(Operations, Layernorm) {
    for (const auto& [rows, channels] : kRowShapes) {
        for (const bool with_residual : {false, true}) {
            const std::size_t size = count(rows * channels);
            Doubles x = random_doubles(size, 1);
            for (double& value : x)
                value = static_cast<double>(static_cast<float>(value + 5));  // mean beside spread
            const Doubles residual = random_doubles(size, 2);
            const Doubles weight = random_doubles(count(channels), 3);
            const Doubles bias = random_doubles(count(channels), 4);
            Guarded device_x(*ops, x), device_residual(*ops, residual), device_weight(*ops, weight),
                device_bias(*ops, bias);
            Guarded sum(*ops, size), y(*ops, size), mean(*ops, count(rows)), rstd(*ops, count(rows));
            Doubles true_sum(size), true_y(size), true_mean(count(rows)), true_rstd(count(rows));
            ops->layernorm_forward(device_x.data(), with_residual ? device_residual.data() : nullptr,
                                   with_residual ? sum.data() : nullptr, device_weight.data(),
                                   device_bias.data(), y.data(), mean.data(), rstd.data(), rows, channels,
                                   1e-5F);
            reference::layernorm_forward(x.data(), with_residual ? residual.data() : nullptr, true_sum.data(),
                                         weight.data(), bias.data(), true_y.data(), true_mean.data(),
                                         true_rstd.data(), rows, channels, 1e-5);
            expect_close(y, true_y, channels == 1 ? 1e-4 : 5e-6, "y");
            expect_close(mean, true_mean, 1e-6, "mean");
            expect_close(rstd, true_rstd, 5e-6, "rstd");
            expect_close(sum, true_sum, 1e-6, "residual_out");
        }
    }
}

TEST_P(Operations, Layernorm_backward) {
    for (const auto& [rows, channels] : kRowShapes) {
        for (const bool accumulate : {false, true}) {
            const std::size_t size = count(rows * channels);
            const Doubles x = random_doubles(size, 1);
            const Doubles d_y = random_doubles(size, 2);
            const Doubles weight = random_doubles(count(channels), 3);
            const Doubles mean = random_doubles(count(rows), 4, 0.1);
            const Doubles rstd(count(rows), 1.25);
            Doubles d_x = random_doubles(size, 5);
            Doubles d_weight = random_doubles(count(channels), 6);
            Doubles d_bias = random_doubles(count(channels), 7);
            Guarded device_x(*ops, x), device_d_y(*ops, d_y), device_weight(*ops, weight),
                device_mean(*ops, mean), device_rstd(*ops, rstd);
            Guarded device_d_x(*ops, d_x), device_d_weight(*ops, d_weight), device_d_bias(*ops, d_bias);
            ops->layernorm_backward(device_x.data(), device_weight.data(), device_mean.data(),
                                    device_rstd.data(), device_d_y.data(), device_d_x.data(),
                                    device_d_weight.data(), device_d_bias.data(), rows, channels, accumulate);
            reference::layernorm_backward(x.data(), weight.data(), mean.data(), rstd.data(), d_y.data(),
                                          d_x.data(), d_weight.data(), d_bias.data(), rows, channels,
                                          accumulate);
            expect_close(device_d_x, d_x, 3e-6, "d_x");
            expect_close(device_d_weight, d_weight, 3e-6, "d_weight");
            expect_close(device_d_bias, d_bias, 3e-6, "d_bias");
        }
    }
}

TEST_P(Operations, Rmsnorm) {
    for (const auto& [rows, channels] : kRowShapes) {
        for (int variant = 0; variant < 4; ++variant) {
            const bool with_residual = (variant & 1) != 0;
            const bool with_weight = (variant & 2) != 0;
            const std::size_t size = count(rows * channels);
            const Doubles x = random_doubles(size, 1);
            const Doubles residual = random_doubles(size, 2);
            const Doubles weight = random_doubles(count(channels), 3);
            Guarded device_x(*ops, x), device_residual(*ops, residual), device_weight(*ops, weight);
            Guarded sum(*ops, size), y(*ops, size), rstd(*ops, count(rows));
            Doubles true_sum(size), true_y(size), true_rstd(count(rows));
            ops->rmsnorm_forward(device_x.data(), with_residual ? device_residual.data() : nullptr,
                                 with_residual ? sum.data() : nullptr,
                                 with_weight ? device_weight.data() : nullptr, y.data(), rstd.data(), rows,
                                 channels, 1e-5F);
            reference::rmsnorm_forward(x.data(), with_residual ? residual.data() : nullptr, true_sum.data(),
                                       with_weight ? weight.data() : nullptr, true_y.data(), true_rstd.data(),
                                       rows, channels, 1e-5);
            expect_close(y, true_y, 3e-6, "y");
            expect_close(rstd, true_rstd, 3e-6, "rstd");
            expect_close(sum, true_sum, 1e-6, "residual_out");

            const Doubles d_y = random_doubles(size, 4);
            Doubles d_x = random_doubles(size, 5);
            Doubles d_weight = random_doubles(count(channels), 6);
            Guarded device_d_y(*ops, d_y), device_d_x(*ops, d_x), device_d_weight(*ops, d_weight);
            Guarded device_rstd(*ops, true_rstd);
            ops->rmsnorm_backward(device_x.data(), with_weight ? device_weight.data() : nullptr,
                                  device_rstd.data(), device_d_y.data(), device_d_x.data(),
                                  with_weight ? device_d_weight.data() : nullptr, rows, channels,
                                  with_residual);
            reference::rmsnorm_backward(x.data(), with_weight ? weight.data() : nullptr, true_rstd.data(),
                                        d_y.data(), d_x.data(), with_weight ? d_weight.data() : nullptr, rows,
                                        channels, with_residual);
            expect_close(device_d_x, d_x, 3e-6, "d_x");
            expect_close(device_d_weight, d_weight, 3e-6, "d_weight");
        }
    }
}

TEST_P(Operations, Embedding) {
    constexpr Index kBatch = 3, kSequence = 11, kVocabulary = 13;
    for (const Index channels : {Index{1}, Index{7}, Index{64}, Index{129}}) {
        for (const bool with_positions : {false, true}) {
            std::vector<std::int32_t> tokens;
            for (Index i = 0; i < kBatch * kSequence; ++i)
                tokens.push_back(static_cast<std::int32_t>(i * 5 % kVocabulary));
            const Doubles table = random_doubles(count(kVocabulary * channels), 1);
            const Doubles positions = random_doubles(count(kSequence * channels), 2);
            const std::size_t size = tokens.size() * count(channels);
            Guarded device_table(*ops, table), device_positions(*ops, positions), out(*ops, size);
            Doubles expected(size);
            ops->embedding_forward(tokens.data(), device_table.data(),
                                   with_positions ? device_positions.data() : nullptr, out.data(), kBatch,
                                   kSequence, channels);
            reference::embedding_forward(tokens.data(), table.data(),
                                         with_positions ? positions.data() : nullptr, expected.data(), kBatch,
                                         kSequence, channels);
            expect_close(out, expected, 1e-7, "out");

            const Doubles d_out = random_doubles(size, 3);
            Doubles d_table = random_doubles(table.size(), 4);
            Doubles d_positions = random_doubles(positions.size(), 5);
            Guarded device_d_out(*ops, d_out), device_d_table(*ops, d_table),
                device_d_positions(*ops, d_positions);
            ops->embedding_backward(tokens.data(), device_d_out.data(), device_d_table.data(),
                                    with_positions ? device_d_positions.data() : nullptr, kBatch, kSequence,
                                    channels);
            reference::embedding_backward(tokens.data(), d_out.data(), d_table.data(),
                                          with_positions ? d_positions.data() : nullptr, kBatch, kSequence,
                                          channels);
            expect_close(device_d_table, d_table, 1e-6, "d_token_table");
            expect_close(device_d_positions, d_positions, 1e-6, "d_position_table");
        }
    }
}

TEST_P(Operations, Rope_rotates_and_rotates_back) {
    constexpr Index kBatch = 2, kSequence = 150, kHeads = 3;
    for (const Index dim : {Index{2}, Index{6}, Index{32}}) {
        const Index stride = kHeads * dim + 5;
        const Doubles x = random_doubles(count(kBatch * kSequence * stride), 1);
        Doubles frequencies(count(dim / 2));
        for (std::size_t j = 0; j < frequencies.size(); ++j) {
            frequencies[j] = static_cast<double>(static_cast<float>(
                std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(dim))));
        }
        Guarded device_x(*ops, x), device_frequencies(*ops, frequencies);
        Doubles expected = x;
        ops->rope(device_x.data(), device_frequencies.data(), kBatch, kSequence, kHeads, dim, stride, 1000,
                  false);
        reference::rope(expected.data(), frequencies.data(), kBatch, kSequence, kHeads, dim, stride, 1000,
                        false);
        expect_close(device_x, expected, 1e-6, "rope");
        ops->rope(device_x.data(), device_frequencies.data(), kBatch, kSequence, kHeads, dim, stride, 1000,
                  true);
        expect_close(device_x, x, 1e-6, "rope and back");
    }
}

TEST_P(Operations, Adamw_follows_the_reference_over_steps) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{17}, std::size_t{10007}}) {
        Doubles parameters = random_doubles(size, 1);
        Doubles m(size), v(size);
        Guarded device_parameters(*ops, parameters), device_m(*ops, m), device_v(*ops, v);
        for (int step = 1; step <= 5; ++step) {
            const Doubles gradients = random_doubles(size, 10 + static_cast<std::uint64_t>(step), 0.01);
            Guarded device_gradients(*ops, gradients);
            const double rate = static_cast<double>(0.01F);
            ops->update(AdamUpdate{
                .at = {.parameters = device_parameters.data(),
                       .gradients = device_gradients.data(),
                       .size = size,
                       .gradient_scale = 0.5F,
                       .decay = static_cast<float>(1 - rate * static_cast<double>(0.1F))},
                .m = device_m.data(),
                .v = device_v.data(),
                .beta1 = 0.9F,
                .beta2 = 0.999F,
                .rate = static_cast<float>(rate / (1 - std::pow(static_cast<double>(0.9F), step))),
                .root_scale =
                    static_cast<float>(1 / std::sqrt(1 - std::pow(static_cast<double>(0.999F), step))),
                .epsilon = 1e-8F});
            const auto exact = [](float value) { return static_cast<double>(value); };
            reference::adamw(
                parameters.data(), gradients.data(), m.data(), v.data(), size,
                {exact(0.01F), exact(0.9F), exact(0.999F), exact(1e-8F), exact(0.1F), 0.5, step});
        }
        expect_close(device_parameters, parameters, 2e-6, "parameters");
        expect_close(device_m, m, 1e-8, "m");
        expect_close(device_v, v, 1e-10, "v");
    }
}

INSTANTIATE_TEST_SUITE_P(Devices, Operations, ::testing::ValuesIn(devices()), device_name);

TEST(Devices, Are_made_by_name) {
    EXPECT_TRUE(make_ops("cpu", 1).ok());
    EXPECT_TRUE(make_ops("auto", 1).ok());
    const auto cuda = make_ops("cuda", 1);
    ASSERT_FALSE(cuda.ok());
    EXPECT_EQ(cuda.error().code, ErrorCode::unavailable);
    const auto unknown = make_ops("gpu", 1);
    ASSERT_FALSE(unknown.ok());
    EXPECT_EQ(unknown.error().code, ErrorCode::invalid);
    EXPECT_NE(unknown.error().message.find("gpu"), std::string::npos);
    EXPECT_GE(make_cpu_ops(0)->threads(), 1);
    EXPECT_EQ(make_cpu_ops(3)->threads(), 3);
}

}  // namespace
}  // namespace Atoll::kernels::testing

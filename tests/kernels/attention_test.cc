#include <cmath>

#include "kernels/reference.h"
#include "tests/kernels/ops_fixture.h"

namespace Atoll::kernels::testing {
namespace {

using Attentions = OpsSuite;

struct Shape {
    Index batch, sequence, heads, kv_heads, head_dim;
};

// One token, odd lengths, below and beyond a block of queries (32, 64) and of keys (256), multi-head,
// grouped-query and multi-query, head dimensions below, at and beyond a vector.
const std::vector<Shape> kShapes = {
    {1, 1, 1, 1, 1},    {2, 5, 3, 3, 4},    {1, 33, 2, 1, 7},  {2, 64, 4, 2, 32},  {1, 65, 6, 2, 16},
    {1, 129, 2, 2, 64}, {2, 257, 2, 1, 24}, {1, 600, 3, 1, 8}, {1, 37, 2, 1, 128}, {1, 21, 1, 1, 256}};

std::size_t count(Index value) { return static_cast<std::size_t>(value); }

// q, k and v are parts of one fused projection; `fused` says so, otherwise they lie apart.
struct Case {
    Case(const Shape& s, bool fused) : shape(s) {
        const Index q_size = s.heads * s.head_dim;
        const Index kv_size = s.kv_heads * s.head_dim;
        const Index row = q_size + 2 * kv_size;
        const Index rows = s.batch * s.sequence;
        layout = {s.batch,
                  s.sequence,
                  s.heads,
                  s.kv_heads,
                  s.head_dim,
                  fused ? row : q_size,
                  fused ? row : kv_size,
                  fused ? row : kv_size,
                  1 / std::sqrt(static_cast<double>(static_cast<float>(s.head_dim)))};
        layout.scale = static_cast<double>(static_cast<float>(layout.scale));
        k_at = fused ? q_size : rows * q_size;
        v_at = fused ? q_size + kv_size : rows * (q_size + kv_size);
        qkv = random_doubles(count(rows * row), 1, 1.5);
        out.resize(count(rows * q_size));
        lse.resize(count(s.batch * s.heads * s.sequence));
    }
    // The true out and lse for q, k, v = values.
    void forward(const Doubles& values) {
        reference::attention_forward(values.data(), values.data() + k_at, values.data() + v_at, out.data(),
                                     lse.data(), layout);
    }
    [[nodiscard]] Attention attention(Guarded& device_qkv, Guarded& device_out, Guarded& device_lse) const {
        return {.q = device_qkv.data(),
                .k = device_qkv.data() + k_at,
                .v = device_qkv.data() + v_at,
                .out = device_out.data(),
                .lse = device_lse.data(),
                .batch = shape.batch,
                .sequence = shape.sequence,
                .heads = shape.heads,
                .kv_heads = shape.kv_heads,
                .head_dim = shape.head_dim,
                .q_stride = layout.q_stride,
                .k_stride = layout.k_stride,
                .v_stride = layout.v_stride,
                .scale = static_cast<float>(layout.scale)};
    }

    Shape shape;
    reference::AttentionShape layout;
    Index k_at = 0, v_at = 0;
    Doubles qkv, out, lse;
};

TEST_P(Attentions, Forward_equals_the_reference) {
    for (const Shape& shape : kShapes) {
        for (const bool fused : {true, false}) {
            Case c(shape, fused);
            c.forward(c.qkv);
            Guarded qkv(*ops, c.qkv), out(*ops, c.out.size()), lse(*ops, c.lse.size());
            ops->attention_forward(c.attention(qkv, out, lse));
            expect_close(out, c.out, 3e-6, "out, T " + std::to_string(shape.sequence));
            expect_close(lse, c.lse, 3e-6, "lse, T " + std::to_string(shape.sequence));
        }
    }
}

TEST_P(Attentions, Survive_large_scores) {
    Case c({1, 300, 2, 1, 16}, true);
    for (double& value : c.qkv) value *= 40;  // scores of thousands: exp of one would overflow
    c.forward(c.qkv);
    Guarded qkv(*ops, c.qkv), out(*ops, c.out.size()), lse(*ops, c.lse.size());
    ops->attention_forward(c.attention(qkv, out, lse));
    expect_close(out, c.out, 1e-3, "out");
    expect_close(lse, c.lse, 1e-6, "lse");
}

TEST_P(Attentions, Backward_equals_the_reference) {
    for (const Shape& shape : kShapes) {
        for (const bool fused : {true, false}) {
            Case c(shape, fused);
            c.forward(c.qkv);
            const Doubles d_out = random_doubles(c.out.size(), 2);
            Doubles d_qkv(c.qkv.size());
            reference::attention_backward(c.qkv.data(), c.qkv.data() + c.k_at, c.qkv.data() + c.v_at,
                                          d_out.data(), d_qkv.data(), d_qkv.data() + c.k_at,
                                          d_qkv.data() + c.v_at, c.layout);
            Guarded qkv(*ops, c.qkv), out(*ops, c.out), lse(*ops, c.lse), device_d_out(*ops, d_out);
            Guarded device_d_qkv(*ops, Doubles(c.qkv.size(), 99));  // overwritten
            ops->attention_backward({.forward = c.attention(qkv, out, lse),
                                     .d_out = device_d_out.data(),
                                     .d_q = device_d_qkv.data(),
                                     .d_k = device_d_qkv.data() + c.k_at,
                                     .d_v = device_d_qkv.data() + c.v_at});
            expect_close(device_d_qkv, d_qkv, 5e-6, "d_qkv, T " + std::to_string(shape.sequence));
        }
    }
}

TEST_P(Attentions, Give_the_same_bits_every_time_and_on_any_number_of_threads) {
    Case c({2, 200, 4, 2, 32}, true);
    c.forward(c.qkv);
    const Doubles d_out = random_doubles(c.out.size(), 2);
    const auto run = [&](Ops& device) {
        Guarded qkv(device, c.qkv), out(device, c.out.size()), lse(device, c.lse.size()),
            upstream(device, d_out);
        Guarded d_qkv(device, c.qkv.size());
        const Attention attention = c.attention(qkv, out, lse);
        device.attention_forward(attention);
        device.attention_backward({.forward = attention,
                                   .d_out = upstream.data(),
                                   .d_q = d_qkv.data(),
                                   .d_k = d_qkv.data() + c.k_at,
                                   .d_v = d_qkv.data() + c.v_at});
        return std::pair(out.floats(), d_qkv.floats());
    };
    const auto first = run(*ops);
    EXPECT_EQ(first, run(*ops));
    if (ops->device_name() == "cpu") {
        EXPECT_EQ(first, run(*make_cpu_ops(2)));
    }
}

TEST_P(Attentions, Decode_equals_the_last_row_of_the_reference) {
    for (const auto& [length, length_max] : std::vector<std::pair<Index, Index>>{{1, 1}, {5, 9}, {70, 100}}) {
        for (const Shape& s : kShapes) {
            const Doubles q = random_doubles(count(s.batch * s.heads * s.head_dim), 1);
            const Doubles k = random_doubles(count(s.batch * length_max * s.kv_heads * s.head_dim), 2);
            const Doubles v = random_doubles(k.size(), 3);
            Doubles expected(q.size());
            const auto scale = static_cast<double>(0.3F);
            reference::attention_decode(q.data(), k.data(), v.data(), expected.data(), s.batch, length,
                                        length_max, s.heads, s.kv_heads, s.head_dim, scale);
            Guarded device_q(*ops, q), device_k(*ops, k), device_v(*ops, v), out(*ops, q.size());
            ops->attention_decode({.q = device_q.data(),
                                   .k_cache = device_k.data(),
                                   .v_cache = device_v.data(),
                                   .out = out.data(),
                                   .batch = s.batch,
                                   .length = length,
                                   .length_max = length_max,
                                   .heads = s.heads,
                                   .kv_heads = s.kv_heads,
                                   .head_dim = s.head_dim,
                                   .scale = 0.3F});
            expect_close(out, expected, 3e-6, "out");
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Devices, Attentions, ::testing::ValuesIn(devices()), device_name);

}  // namespace
}  // namespace Atoll::kernels::testing

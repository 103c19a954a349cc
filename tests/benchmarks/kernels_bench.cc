// Every operation at the shapes of three models, beside memcpy and oneDNN's own product on the same threads:
//   kernels_bench --benchmark_filter=tiny --threads=2
// GFLOP/s count the multiply-adds the formula needs (causal attention: half the square); GB/s the bytes it
// must move.
#include <benchmark/benchmark.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/ops.h"

namespace {

using namespace Atoll::kernels;

struct Model {
    std::string name;
    Index batch, sequence, channels, heads, vocabulary;
    [[nodiscard]] Index rows() const { return batch * sequence; }
};

const std::vector<Model> kModels = {
    {"tiny", 8, 128, 128, 4, 256}, {"small", 8, 256, 384, 6, 4096}, {"gpt2_124m", 4, 256, 768, 12, 50257}};

struct Bench {
    Ops& ops;
    std::shared_ptr<float[]> buffer(Index floats) const {
        auto memory = ops.allocate(static_cast<std::size_t>(floats));
        std::vector<float> host(static_cast<std::size_t>(floats));
        for (std::size_t i = 0; i < host.size(); ++i)
            host[i] = static_cast<float>(i * 2654435761U % 1999) * 1e-3F - 1;
        ops.copy_to_device(memory.get(), host);
        return memory;
    }
};

void rate(benchmark::State& state, const char* name, double amount) {
    state.counters[name] = benchmark::Counter(amount * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

template <typename Body>
void add(const std::string& name, double flops, double bytes, const Body& body) {
    benchmark::RegisterBenchmark(name.c_str(),
                                 [=](benchmark::State& state) {
                                     const auto step = body();
                                     step();
                                     for (auto _ : state) step();
                                     if (flops > 0) rate(state, "GFLOP/s", flops);
                                     if (bytes > 0) rate(state, "GB/s", bytes);
                                 })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
}

void add_product(Ops& ops, const std::string& name, Matmul shape) {
    const double flops =
        2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) * static_cast<double>(shape.k);
    add(name, flops, 0, [&ops, shape] {
        const Bench bench{ops};
        auto a = bench.buffer(shape.m * shape.k), b = bench.buffer(shape.k * shape.n),
             c = bench.buffer(shape.m * shape.n);
        return [&ops, shape, a, b, c] {
            Matmul product = shape;
            product.a = a.get();
            product.b = b.get();
            product.c = c.get();
            ops.matmul(product);
        };
    });
    add(name + "/onednn", flops, 0, [&ops, shape] {
        const Bench bench{ops};
        auto a = bench.buffer(shape.m * shape.k), b = bench.buffer(shape.k * shape.n),
             c = bench.buffer(shape.m * shape.n);
        return [&ops, shape, a, b, c] {
            omp_set_num_threads(ops.threads());
            dnnl_sgemm(shape.transpose_a ? 'T' : 'N', shape.transpose_b ? 'T' : 'N', shape.m, shape.n,
                       shape.k, 1, a.get(), shape.transpose_a ? shape.m : shape.k, b.get(),
                       shape.transpose_b ? shape.k : shape.n, shape.accumulate ? 1.0F : 0.0F, c.get(),
                       shape.n);
        };
    });
}

// The three products of one linear layer: forward, gradient of the input, gradient of the weight.
void add_linear(Ops& ops, const std::string& name, Index rows, Index in, Index out) {
    add_product(ops, name + "/forward", {.m = rows, .n = out, .k = in, .b_is_weight = true});
    add_product(ops, name + "/d_input",
                {.m = rows, .n = in, .k = out, .transpose_b = true, .b_is_weight = true});
    add_product(ops, name + "/d_weight",
                {.m = in, .n = out, .k = rows, .transpose_a = true, .accumulate = true});
}

void add_attention(Ops& ops, const Model& model) {
    const Index dim = model.channels / model.heads;
    const double square = static_cast<double>(model.batch * model.sequence * model.sequence * model.channels);
    for (const bool backward : {false, true}) {
        add(model.name + (backward ? "/attention_backward" : "/attention_forward"),
            square * (backward ? 5 : 2), 0, [&ops, model, dim, backward] {
                const Bench bench{ops};
                auto qkv = bench.buffer(model.rows() * 3 * model.channels),
                     d_qkv = bench.buffer(model.rows() * 3 * model.channels);
                auto out = bench.buffer(model.rows() * model.channels),
                     lse = bench.buffer(model.rows() * model.heads);
                const Attention attention{.q = qkv.get(),
                                          .k = qkv.get() + model.channels,
                                          .v = qkv.get() + 2 * model.channels,
                                          .out = out.get(),
                                          .lse = lse.get(),
                                          .batch = model.batch,
                                          .sequence = model.sequence,
                                          .heads = model.heads,
                                          .kv_heads = model.heads,
                                          .head_dim = dim,
                                          .q_stride = 3 * model.channels,
                                          .k_stride = 3 * model.channels,
                                          .v_stride = 3 * model.channels,
                                          .scale = 1 / std::sqrt(static_cast<float>(dim))};
                ops.attention_forward(attention);
                return [&ops, model, attention, backward, qkv, d_qkv, out, lse] {
                    if (!backward) return ops.attention_forward(attention);
                    ops.attention_backward({attention, out.get(), d_qkv.get(), d_qkv.get() + model.channels,
                                            d_qkv.get() + 2 * model.channels});
                };
            });
    }
}

void add_rowwise(Ops& ops, const Model& model) {
    const Index size = model.rows() * model.channels;
    const double bytes = 4.0 * static_cast<double>(size);
    const auto with_buffers = [&ops, model, size](auto call) {
        return [&ops, model, size, call] {
            const Bench bench{ops};
            auto x = bench.buffer(4 * size), y = bench.buffer(4 * size), z = bench.buffer(4 * size);
            auto small = bench.buffer(4 * (model.channels + model.rows()));
            return [&ops, call, x, y, z, small] { call(ops, x.get(), y.get(), z.get(), small.get()); };
        };
    };
    const Index rows = model.rows(), channels = model.channels;
    add(model.name + "/layernorm_forward_residual", 0, 4 * bytes,
        with_buffers([=](Ops& o, float* x, float* y, float* z, float* s) {
            o.layernorm_forward(x, y, y, s, s + channels, z, s + 4 * channels, s + 4 * channels + rows, rows,
                                channels, 1e-5F);
        }));
    add(model.name + "/layernorm_backward", 0, 4 * bytes,
        with_buffers([=](Ops& o, float* x, float* y, float* z, float* s) {
            o.layernorm_backward(x, s, s + 4 * channels, s + 4 * channels + rows, y, z, s + channels,
                                 s + 2 * channels, rows, channels, true);
        }));
    add(model.name + "/rmsnorm_forward", 0, 2 * bytes,
        with_buffers([=](Ops& o, float* x, float*, float* z, float* s) {
            o.rmsnorm_forward(x, nullptr, nullptr, s, z, s + 4 * channels, rows, channels, 1e-5F);
        }));
    add(model.name + "/gelu_forward", 0, 8 * bytes,
        with_buffers([=](Ops& o, float* x, float* y, float*, float*) {
            o.gelu_forward(x, y, static_cast<std::size_t>(4 * size));
        }));
    add(model.name + "/gelu_backward", 0, 12 * bytes,
        with_buffers([=](Ops& o, float* x, float* y, float* z, float*) {
            o.gelu_backward(x, y, z, static_cast<std::size_t>(4 * size));
        }));
    add(model.name + "/swiglu_forward", 0, 6 * bytes,
        with_buffers(
            [=](Ops& o, float* x, float* y, float*, float*) { o.swiglu_forward(x, y, rows, 2 * channels); }));
    add(model.name + "/bias_backward", 0, 4 * bytes,
        with_buffers(
            [=](Ops& o, float* x, float* y, float*, float*) { o.bias_backward(x, y, rows, 4 * channels); }));
    add(model.name + "/rope", 0, 2 * bytes, with_buffers([=](Ops& o, float* x, float*, float*, float* s) {
            o.rope(x, s, model.batch, model.sequence, model.heads, channels / model.heads, channels, 0,
                   false);
        }));
}

void add_head(Ops& ops, const Model& model) {
    const double flops =
        6.0 * static_cast<double>(model.rows() * model.channels) * static_cast<double>(model.vocabulary);
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(model.rows()));
    for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = static_cast<std::int32_t>(i * 7919 % static_cast<std::size_t>(model.vocabulary));
    add(model.name + "/head_loss", flops, 0, [&ops, model, tokens] {
        const Bench bench{ops};
        auto hidden = bench.buffer(model.rows() * model.channels),
             head = bench.buffer(model.vocabulary * model.channels);
        auto d_hidden = bench.buffer(model.rows() * model.channels),
             d_head = bench.buffer(model.vocabulary * model.channels);
        auto losses = bench.buffer(model.rows());
        return [&ops, model, tokens, hidden, head, d_hidden, d_head, losses] {
            ops.head_loss({.hidden = hidden.get(),
                           .head = head.get(),
                           .targets = tokens.data(),
                           .losses = losses.get(),
                           .d_hidden = d_hidden.get(),
                           .d_head = d_head.get(),
                           .loss_scale = 1e-3F,
                           .rows = model.rows(),
                           .channels = model.channels,
                           .vocabulary = model.vocabulary});
        };
    });
    const double bytes = 4.0 * static_cast<double>(model.rows() * model.channels);
    for (const bool backward : {false, true}) {
        add(model.name + (backward ? "/embedding_backward" : "/embedding_forward"), 0,
            (backward ? 5 : 3) * bytes, [&ops, model, tokens, backward] {
                const Bench bench{ops};
                auto table = bench.buffer(model.vocabulary * model.channels),
                     positions = bench.buffer(model.sequence * model.channels);
                auto out = bench.buffer(model.rows() * model.channels);
                return [&ops, model, tokens, backward, table, positions, out] {
                    if (backward) {
                        ops.embedding_backward(tokens.data(), out.get(), table.get(), positions.get(),
                                               model.batch, model.sequence, model.channels);
                    } else {
                        ops.embedding_forward(tokens.data(), table.get(), positions.get(), out.get(),
                                              model.batch, model.sequence, model.channels);
                    }
                };
            });
    }
}

// Vectors of 32 million parameters: far beyond every cache.
void add_vectors(Ops& ops) {
    constexpr Index kSize = Index{1} << 25;
    constexpr double kBytes = 4.0 * static_cast<double>(kSize);
    constexpr auto kFloats = static_cast<std::size_t>(kSize);
    add("vector/memcpy_one_thread", 0, 2 * kBytes, [&ops] {
        auto x = Bench{ops}.buffer(kSize), y = Bench{ops}.buffer(kSize);
        return [x, y] { std::memcpy(y.get(), x.get(), kFloats * sizeof(float)); };
    });
    add("vector/adamw", 0, 7 * kBytes, [&ops] {
        auto p = Bench{ops}.buffer(kSize), g = Bench{ops}.buffer(kSize), m = ops.allocate(kFloats),
             v = ops.allocate(kFloats);
        return [&ops, p, g, m, v] {
            ops.update(AdamUpdate{
                .at = {.parameters = p.get(), .gradients = g.get(), .size = kFloats, .decay = 0.9999F},
                .m = m.get(),
                .v = v.get(),
                .beta1 = 0.9F,
                .beta2 = 0.95F,
                .rate = 1e-3F,
                .epsilon = 1e-8F});
        };
    });
    add("vector/axpy", 0, 3 * kBytes, [&ops] {
        auto x = Bench{ops}.buffer(kSize), y = Bench{ops}.buffer(kSize);
        return [&ops, x, y] { ops.axpy(1e-3F, x.get(), y.get(), kFloats); };
    });
    add("vector/fill", 0, kBytes, [&ops] {
        auto x = Bench{ops}.buffer(kSize);
        return [&ops, x] { ops.fill(x.get(), 0, kFloats); };
    });
    add("vector/squared_norm", 0, kBytes, [&ops] {
        auto x = Bench{ops}.buffer(kSize);
        return [&ops, x] { benchmark::DoNotOptimize(ops.squared_norm(x.get(), kFloats)); };
    });
}

}  // namespace

int main(int argc, char** argv) {
    int threads = 0;
    for (int i = 1; i < argc; ++i) {
        if (std::strncmp(argv[i], "--threads=", 10) != 0) continue;
        threads = std::atoi(argv[i] + 10);
        for (int j = i; j + 1 < argc; ++j) argv[j] = argv[j + 1];
        --argc;
    }
    const auto ops = make_cpu_ops(threads);
    for (const Model& model : kModels) {
        add_linear(*ops, model.name + "/qkv", model.rows(), model.channels, 3 * model.channels);
        add_linear(*ops, model.name + "/projection", model.rows(), model.channels, model.channels);
        add_linear(*ops, model.name + "/mlp_up", model.rows(), model.channels, 4 * model.channels);
        add_linear(*ops, model.name + "/mlp_down", model.rows(), 4 * model.channels, model.channels);
        add_attention(*ops, model);
        add_rowwise(*ops, model);
        add_head(*ops, model);
    }
    add_vectors(*ops);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}

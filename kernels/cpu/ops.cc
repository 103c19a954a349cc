#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <cstring>
#include <thread>
#include <vector>

#include "base/log.h"
#include "kernels/cpu/plain.h"
#include "kernels/ops.h"
#include "kernels/parallel.h"

namespace Atoll::kernels {

namespace {

class CpuOps final : public Ops {
  public:
    explicit CpuOps(int threads)
        : threads_(threads > 0 ? threads
                               : std::max(1, static_cast<int>(std::thread::hardware_concurrency()))) {
        omp_set_num_threads(threads_);
    }
    std::string device_name() const override { return "cpu"; }
    int threads() const override { return threads_; }
    bool fast_bf16() const override { return false; }
    std::shared_ptr<float[]> allocate(std::size_t floats) override {
        auto* data = static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 64) / 64 * 64));
        std::memset(data, 0, floats * 4);
        return {data, [](float* p) { std::free(p); }};
    }
    void copy_to_device(float* device, std::span<const float> host) override {
        std::memcpy(device, host.data(), host.size_bytes());
    }
    void copy_to_host(std::span<float> host, const float* device) override {
        std::memcpy(host.data(), device, host.size_bytes());
    }
    void weights_changed() override {}
    void matmul(const Matmul& p) override {
        if (p.bias != nullptr && !p.accumulate) {
            for (Index i = 0; i < p.m; ++i)
                std::memcpy(p.c + i * p.n, p.bias, static_cast<std::size_t>(p.n) * 4);
        }
        dnnl_sgemm(p.transpose_a ? 'T' : 'N', p.transpose_b ? 'T' : 'N', p.m, p.n, p.k, 1.0F, p.a,
                   p.transpose_a ? p.m : p.k, p.b, p.transpose_b ? p.k : p.n,
                   p.accumulate || p.bias != nullptr ? 1.0F : 0.0F, p.c, p.n);
        if (p.bias != nullptr && p.accumulate) {
            for (Index i = 0; i < p.m * p.n; ++i) p.c[i] += p.bias[i % p.n];
        }
    }
    void bias_backward(const float* d_y, float* d_bias, Index m, Index n) override {
        plain::bias_backward(d_y, d_bias, m, n);
    }
    void embedding_forward(const std::int32_t* tokens, const float* token_table, const float* position_table,
                           float* out, Index batch, Index sequence, Index channels) override {
        plain::embedding_forward(tokens, token_table, position_table, out, batch, sequence, channels);
    }
    void embedding_backward(const std::int32_t* tokens, const float* d_out, float* d_token_table,
                            float* d_position_table, Index batch, Index sequence, Index channels) override {
        plain::embedding_backward(tokens, d_out, d_token_table, d_position_table, batch, sequence, channels);
    }
    void layernorm_forward(const float* x, const float* residual_in, float* residual_out, const float* weight,
                           const float* bias, float* y, float* mean, float* rstd, Index rows, Index channels,
                           float epsilon) override {
        plain::layernorm_forward(x, residual_in, residual_out, weight, bias, y, mean, rstd, rows, channels,
                                 epsilon);
    }
    void layernorm_backward(const float* x, const float* weight, const float* mean, const float* rstd,
                            const float* d_y, float* d_x, float* d_weight, float* d_bias, Index rows,
                            Index channels, bool accumulate) override {
        plain::layernorm_backward(x, weight, mean, rstd, d_y, d_x, d_weight, d_bias, rows, channels,
                                  accumulate);
    }
    void rmsnorm_forward(const float* x, const float* residual_in, float* residual_out, const float* weight,
                         float* y, float* rstd, Index rows, Index channels, float epsilon) override {
        plain::rmsnorm_forward(x, residual_in, residual_out, weight, y, rstd, rows, channels, epsilon);
    }
    void rmsnorm_backward(const float* x, const float* weight, const float* rstd, const float* d_y,
                          float* d_x, float* d_weight, Index rows, Index channels, bool accumulate) override {
        plain::rmsnorm_backward(x, weight, rstd, d_y, d_x, d_weight, rows, channels, accumulate);
    }
    void gelu_forward(const float* x, float* y, std::size_t size) override {
        plain::gelu_forward(x, y, size);
    }
    void gelu_backward(const float* x, const float* d_y, float* d_x, std::size_t size) override {
        plain::gelu_backward(x, d_y, d_x, size);
    }
    void swiglu_forward(const float* gate_up, float* y, Index rows, Index inner) override {
        plain::swiglu_forward(gate_up, y, rows, inner);
    }
    void swiglu_backward(const float* gate_up, const float* d_y, float* d_gate_up, Index rows,
                         Index inner) override {
        plain::swiglu_backward(gate_up, d_y, d_gate_up, rows, inner);
    }
    void rope(float* x, const float* frequencies, Index batch, Index sequence, Index heads, Index head_dim,
              Index stride, Index position_offset, bool inverse) override {
        plain::rope(x, frequencies, batch, sequence, heads, head_dim, stride, position_offset, inverse);
    }
    void attention_forward(const Attention& a) override {
        plain::attention_forward(a.q, a.k, a.v, a.out, a.lse, shape(a));
    }
    void attention_backward(const AttentionBackward& a) override {
        plain::attention_backward(a.forward.q, a.forward.k, a.forward.v, a.d_out, a.d_q, a.d_k, a.d_v,
                                  shape(a.forward));
    }
    void attention_decode(const AttentionDecode& a) override {
        plain::attention_decode(a.q, a.k_cache, a.v_cache, a.out, a.batch, a.length, a.length_max, a.heads,
                                a.kv_heads, a.head_dim, a.scale);
    }
    void head_loss(const HeadLoss& a) override {
        plain::head_loss(a.hidden, a.head, a.targets, a.losses, a.d_hidden, a.d_head,
                         {a.rows, a.channels, a.vocabulary, a.loss_scale, a.z_loss});
    }
    void axpy(float alpha, const float* x, float* y, std::size_t size) override {
        for (std::size_t i = 0; i < size; ++i) y[i] += alpha * x[i];
    }
    void add(const float* a, const float* b, float* out, std::size_t size) override {
        for (std::size_t i = 0; i < size; ++i) out[i] = a[i] + b[i];
    }
    void scale(float alpha, float* x, std::size_t size) override {
        for (std::size_t i = 0; i < size; ++i) x[i] *= alpha;
    }
    void fill(float* x, float value, std::size_t size) override { std::fill_n(x, size, value); }
    double sum(const float* x, std::size_t size) override {
        double total = 0;
        for (std::size_t i = 0; i < size; ++i) total += static_cast<double>(x[i]);
        return total;
    }
    double squared_norm(const float* x, std::size_t size) override {
        double total = 0;
        for (std::size_t i = 0; i < size; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        return total;
    }
    void adamw(const AdamWStep& a) override {
        plain::adamw(
            a.parameters, a.gradients, a.m, a.v, a.size,
            {a.learning_rate, a.beta1, a.beta2, a.epsilon, a.weight_decay, a.gradient_scale, a.step});
    }

  private:
    static plain::AttentionShape shape(const Attention& a) {
        return {a.batch,    a.sequence, a.heads,    a.kv_heads, a.head_dim,
                a.q_stride, a.k_stride, a.v_stride, a.scale};
    }
    int threads_;
};

}  // namespace

std::unique_ptr<Ops> make_cpu_ops(int threads) { return std::make_unique<CpuOps>(threads); }

Result<std::unique_ptr<Ops>> make_ops(const std::string& device, int threads) {
    if (device == "cpu") return make_cpu_ops(threads);
    if (device == "auto") {
        log::debug("device auto: no CUDA backend beside this program, using the CPU");
        return make_cpu_ops(threads);
    }
    if (device == "cuda") {
        return Error{ErrorCode::unavailable,
                     "device cuda: this build has no CUDA backend; use device cpu or auto"};
    }
    return Error{ErrorCode::invalid, "device '" + device + "': expected cpu, cuda or auto"};
}

}  // namespace Atoll::kernels

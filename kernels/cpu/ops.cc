// The CPU implementation: a row of doors to the loops beside it.
#include "kernels/ops.h"

#include <cstring>
#include <thread>

#include "kernels/cpu/context.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/matmul.h"

namespace Atoll::kernels {

namespace {

int thread_count(int threads) {
    return threads > 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

class CpuOps final : public Ops {
  public:
    explicit CpuOps(int threads)
        : context_(thread_count(threads)), products_(context_, cpu::best_tile_engine()) {}

    std::string device_name() const override { return "cpu"; }
    int threads() const override { return context_.threads(); }
    bool fast_bf16() const override { return products_.fast_bf16(); }

    std::shared_ptr<float[]> allocate(std::size_t floats) override {
        auto buffer = std::make_shared<FlatBuffer>(floats);
        return {buffer, buffer->data()};
    }
    void copy_to_device(float* device, std::span<const float> host) override {
        std::memcpy(device, host.data(), host.size_bytes());
    }
    void copy_to_host(std::span<float> host, const float* device) override {
        std::memcpy(host.data(), device, host.size_bytes());
    }
    void weights_changed() override { products_.weights_changed(); }

    void matmul(const Matmul& product) override { products_.run(product); }
    void bias_backward(const float* d_y, float* d_bias, Index m, Index n) override {
        cpu::bias_backward(context_, d_y, d_bias, m, n);
    }

    void embedding_forward(const std::int32_t* tokens, const float* token_table, const float* position_table,
                           float* out, Index batch, Index sequence, Index channels) override {
        cpu::embedding_forward(context_, tokens, token_table, position_table, out, batch, sequence, channels);
    }
    void embedding_backward(const std::int32_t* tokens, const float* d_out, float* d_token_table,
                            float* d_position_table, Index batch, Index sequence, Index channels) override {
        cpu::embedding_backward(context_, tokens, d_out, d_token_table, d_position_table, batch, sequence,
                                channels);
    }

    void layernorm_forward(const float* x, const float* residual_in, float* residual_out, const float* weight,
                           const float* bias, float* y, float* mean, float* rstd, Index rows, Index channels,
                           float epsilon) override {
        cpu::layernorm_forward(context_, x, residual_in, residual_out, weight, bias, y, mean, rstd, rows,
                               channels, epsilon);
    }
    void layernorm_backward(const float* x, const float* weight, const float* mean, const float* rstd,
                            const float* d_y, float* d_x, float* d_weight, float* d_bias, Index rows,
                            Index channels, bool accumulate) override {
        cpu::layernorm_backward(context_, x, weight, mean, rstd, d_y, d_x, d_weight, d_bias, rows, channels,
                                accumulate);
    }
    void rmsnorm_forward(const float* x, const float* residual_in, float* residual_out, const float* weight,
                         float* y, float* rstd, Index rows, Index channels, float epsilon) override {
        cpu::rmsnorm_forward(context_, x, residual_in, residual_out, weight, y, rstd, rows, channels,
                             epsilon);
    }
    void rmsnorm_backward(const float* x, const float* weight, const float* rstd, const float* d_y,
                          float* d_x, float* d_weight, Index rows, Index channels, bool accumulate) override {
        cpu::rmsnorm_backward(context_, x, weight, rstd, d_y, d_x, d_weight, rows, channels, accumulate);
    }

    void gelu_forward(const float* x, float* y, std::size_t size) override {
        cpu::gelu_forward(context_, x, y, size);
    }
    void gelu_backward(const float* x, const float* d_y, float* d_x, std::size_t size) override {
        cpu::gelu_backward(context_, x, d_y, d_x, size);
    }
    void swiglu_forward(const float* gate_up, float* y, Index rows, Index inner) override {
        cpu::swiglu_forward(context_, gate_up, y, rows, inner);
    }
    void swiglu_backward(const float* gate_up, const float* d_y, float* d_gate_up, Index rows,
                         Index inner) override {
        cpu::swiglu_backward(context_, gate_up, d_y, d_gate_up, rows, inner);
    }

    void rope(float* x, const float* frequencies, Index batch, Index sequence, Index heads, Index head_dim,
              Index stride, Index position_offset, bool inverse) override {
        cpu::rope(context_, x, frequencies, batch, sequence, heads, head_dim, stride, position_offset,
                  inverse);
    }

    void attention_forward(const Attention& attention) override {
        cpu::attention_forward(context_, attention);
    }
    void attention_backward(const AttentionBackward& attention) override {
        cpu::attention_backward(context_, attention);
    }
    void attention_decode(const AttentionDecode& attention) override {
        cpu::attention_decode(context_, attention);
    }

    void head_loss(const HeadLoss& loss) override { cpu::head_loss(context_, products_, loss); }

    void axpy(float alpha, const float* x, float* y, std::size_t size) override {
        cpu::axpy(context_, alpha, x, y, size);
    }
    void add(const float* a, const float* b, float* out, std::size_t size) override {
        cpu::add(context_, a, b, out, size);
    }
    void scale(float alpha, float* x, std::size_t size) override { cpu::scale(context_, alpha, x, size); }
    void fill(float* x, float value, std::size_t size) override { cpu::fill(context_, x, value, size); }
    double sum(const float* x, std::size_t size) override { return cpu::sum(context_, x, size); }
    double squared_norm(const float* x, std::size_t size) override {
        return cpu::squared_norm(context_, x, size);
    }

    double squared_norm_of_sum(float a, const float* x, float b, const float* y, std::size_t size) override {
        return cpu::squared_norm_of_sum(context_, a, x, b, y, size);
    }
    void update(const Update& update) override { cpu::update(context_, update); }
    void update_rows(const RowAdamUpdate& update) override { cpu::update_rows(context_, update); }
    ProdigySums prodigy_moments(const ProdigyMoments& step) override {
        return cpu::prodigy_moments(context_, step);
    }
    void add_normals(std::span<const NormalTerm> terms, std::size_t first, float* x,
                     std::size_t size) override {
        cpu::add_normals(context_, terms, first, x, size);
    }

  private:
    cpu::Context context_;
    cpu::Products products_;
};

}  // namespace

std::unique_ptr<Ops> make_cpu_ops(int threads) { return std::make_unique<CpuOps>(threads); }

}  // namespace Atoll::kernels

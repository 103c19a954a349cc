// The CUDA implementation: a row of doors to the kernels beside it.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.cuh"
#include "kernels/cuda/products.cuh"

namespace Atoll::kernels::cuda {

namespace {

// Rows whose logits are in memory at once: 256 MiB.
Index chunk_rows(const HeadLoss& loss) {
    constexpr Index kLogits = Index{64} << 20U;
    const Index largest = std::max<Index>(1, kLogits / loss.vocabulary);
    const Index chunks = (loss.rows + largest - 1) / largest;
    return (loss.rows + chunks - 1) / chunks;
}

class CudaOps final : public Ops {
  public:
    explicit CudaOps(const cudaDeviceProp& card) : name_(card.name), context_(0), products_(context_) {}

    std::string device_name() const override { return "cuda (" + name_ + ")"; }
    int threads() const override { return 1; }
    bool fast_bf16() const override { return true; }

    std::shared_ptr<float[]> allocate(std::size_t floats) override {
        auto memory = std::make_shared<Memory>(std::max<std::size_t>(floats, 1) * sizeof(float));
        auto* const values = reinterpret_cast<float*>(memory->data());
        check(cudaMemsetAsync(values, 0, floats * sizeof(float), context_.stream()), "new memory");
        return {memory, values};
    }
    void copy_to_device(float* device, std::span<const float> host) override {
        check(cudaMemcpyAsync(device, host.data(), host.size_bytes(), cudaMemcpyHostToDevice,
                              context_.stream()),
              "copy to the device");
        context_.synchronize();
    }
    void copy_to_host(std::span<float> host, const float* device) override {
        check(cudaMemcpyAsync(host.data(), device, host.size_bytes(), cudaMemcpyDeviceToHost,
                              context_.stream()),
              "copy to the host");
        context_.synchronize();
    }
    void weights_changed() override { products_.weights_changed(); }

    void matmul(const Matmul& product) override { products_.run(product); }
    void bias_backward(const float* d_y, float* d_bias, Index m, Index n) override {
        cuda::bias_backward(context_, d_y, d_bias, m, n);
    }

    void embedding_forward(const std::int32_t* tokens, const float* token_table, const float* position_table,
                           float* out, Index batch, Index sequence, Index channels) override {
        cuda::embedding_forward(context_, on_device(tokens, batch * sequence), token_table, position_table,
                                out, batch, sequence, channels);
    }
    void embedding_backward(const std::int32_t* tokens, const float* d_out, float* d_token_table,
                            float* d_position_table, Index batch, Index sequence, Index channels) override {
        cuda::embedding_backward(context_, tokens, d_out, d_token_table, d_position_table, batch, sequence,
                                 channels);
    }

    void layernorm_forward(const float* x, const float* residual_in, float* residual_out, const float* weight,
                           const float* bias, float* y, float* mean, float* rstd, Index rows, Index channels,
                           float epsilon) override {
        cuda::layernorm_forward(context_, x, residual_in, residual_out, weight, bias, y, mean, rstd, rows,
                                channels, epsilon);
    }
    void layernorm_backward(const float* x, const float* weight, const float* mean, const float* rstd,
                            const float* d_y, float* d_x, float* d_weight, float* d_bias, Index rows,
                            Index channels, bool accumulate) override {
        cuda::layernorm_backward(context_, x, weight, mean, rstd, d_y, d_x, d_weight, d_bias, rows, channels,
                                 accumulate);
    }
    void rmsnorm_forward(const float* x, const float* residual_in, float* residual_out, const float* weight,
                         float* y, float* rstd, Index rows, Index channels, float epsilon) override {
        cuda::rmsnorm_forward(context_, x, residual_in, residual_out, weight, y, rstd, rows, channels,
                              epsilon);
    }
    void rmsnorm_backward(const float* x, const float* weight, const float* rstd, const float* d_y,
                          float* d_x, float* d_weight, Index rows, Index channels, bool accumulate) override {
        cuda::rmsnorm_backward(context_, x, weight, rstd, d_y, d_x, d_weight, rows, channels, accumulate);
    }

    void gelu_forward(const float* x, float* y, std::size_t size) override {
        cuda::gelu_forward(context_, x, y, size);
    }
    void gelu_backward(const float* x, const float* d_y, float* d_x, std::size_t size) override {
        cuda::gelu_backward(context_, x, d_y, d_x, size);
    }
    void swiglu_forward(const float* gate_up, float* y, Index rows, Index inner) override {
        cuda::swiglu_forward(context_, gate_up, y, rows, inner);
    }
    void swiglu_backward(const float* gate_up, const float* d_y, float* d_gate_up, Index rows,
                         Index inner) override {
        cuda::swiglu_backward(context_, gate_up, d_y, d_gate_up, rows, inner);
    }

    void rope(float* x, const float* frequencies, Index batch, Index sequence, Index heads, Index head_dim,
              Index stride, Index position_offset, bool inverse) override {
        cuda::rope(context_, x, frequencies, batch, sequence, heads, head_dim, stride, position_offset,
                   inverse);
    }

    void attention_forward(const Attention& attention) override {
        cuda::attention_forward(context_, attention);
    }
    void attention_backward(const AttentionBackward& attention) override {
        cuda::attention_backward(context_, attention);
    }
    void attention_decode(const AttentionDecode& attention) override {
        cuda::attention_decode(context_, attention);
    }

    void head_loss(const HeadLoss& loss) override;

    void axpy(float alpha, const float* x, float* y, std::size_t size) override {
        cuda::axpy(context_, alpha, x, y, size);
    }
    void add(const float* a, const float* b, float* out, std::size_t size) override {
        cuda::add(context_, a, b, out, size);
    }
    void scale(float alpha, float* x, std::size_t size) override { cuda::scale(context_, alpha, x, size); }
    void fill(float* x, float value, std::size_t size) override { cuda::fill(context_, x, value, size); }
    double sum(const float* x, std::size_t size) override { return cuda::sum(context_, x, size); }
    double squared_norm(const float* x, std::size_t size) override {
        return cuda::squared_norm(context_, x, size);
    }
    double squared_norm_of_sum(float a, const float* x, float b, const float* y, std::size_t size) override {
        return cuda::squared_norm_of_sum(context_, a, x, b, y, size);
    }
    void update(const Update& update) override { cuda::update(context_, update); }
    void update_rows(const RowAdamUpdate& update) override { cuda::update_rows(context_, update); }
    ProdigySums prodigy_moments(const ProdigyMoments& step) override {
        return cuda::prodigy_moments(context_, step);
    }
    void add_normals(std::span<const NormalTerm> terms, std::size_t first, float* x,
                     std::size_t size) override {
        cuda::add_normals(context_, on_device(terms.data(), static_cast<Index>(terms.size())), terms.size(),
                          first, x, size);
    }

  private:
    template <typename T>
    [[nodiscard]] const T* on_device(const T* host, Index count) {
        const auto size = static_cast<std::size_t>(count);
        auto* const device = context_.scratch<T>(Context::Scratch::indices, size);
        check(cudaMemcpyAsync(device, host, size * sizeof(T), cudaMemcpyHostToDevice, context_.stream()),
              "copy of arguments");
        return device;
    }

    std::string name_;
    Context context_;
    Products products_;
};

void CudaOps::head_loss(const HeadLoss& loss) {
    if (loss.rows == 0) return;
    const Index chunk = chunk_rows(loss);
    const bool backward = loss.d_hidden != nullptr;
    const std::int32_t* const targets = on_device(loss.targets, loss.rows);
    auto* const logits =
        context_.scratch<float>(Context::Scratch::logits, static_cast<std::size_t>(chunk * loss.vocabulary));
    for (Index first = 0; first < loss.rows; first += chunk) {
        const Index rows = std::min(chunk, loss.rows - first);
        const float* const hidden = loss.hidden + first * loss.channels;
        products_.run({.a = hidden,
                       .b = loss.head,
                       .c = logits,
                       .m = rows,
                       .n = loss.vocabulary,
                       .k = loss.channels,
                       .transpose_b = true,
                       .precision = loss.precision,
                       .b_is_weight = true});
        loss_rows(context_, logits, targets + first, loss.losses + first, rows, loss.vocabulary,
                  loss.loss_scale, loss.z_loss, backward);
        if (!backward) continue;
        products_.run({.a = logits,
                       .b = loss.head,
                       .c = loss.d_hidden + first * loss.channels,
                       .m = rows,
                       .n = loss.channels,
                       .k = loss.vocabulary,
                       .precision = loss.precision,
                       .b_is_weight = true});
        products_.run({.a = logits,
                       .b = hidden,
                       .c = loss.d_head,
                       .m = loss.vocabulary,
                       .n = loss.channels,
                       .k = rows,
                       .transpose_a = true,
                       .accumulate = true,
                       .precision = loss.precision});
    }
}

void* allocate_shared(std::size_t bytes) {
    void* memory = nullptr;
    if (cudaMallocManaged(&memory, bytes) != cudaSuccess) return nullptr;
    std::memset(memory, 0, bytes);
    return memory;
}

void release_shared(void* memory) { (void)cudaFree(memory); }

Ops* make_first_device() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorNoDevice || count == 0) throw DeviceError("no CUDA device is there");
    check(error, "search for CUDA devices");
    cudaDeviceProp card{};
    check(cudaGetDeviceProperties(&card, 0), "properties of device 0");
    if (card.major < kComputeMajorMin) {
        throw DeviceError("device 0, " + std::string(card.name) + ", has compute capability " +
                          std::to_string(card.major) + "." + std::to_string(card.minor) +
                          ": expected at least " + std::to_string(kComputeMajorMin) + ".0");
    }
    // Otherwise a thread that reads a buffer (averaging, a checkpoint) dies while a kernel runs.
    if (card.concurrentManagedAccess == 0) {
        throw DeviceError("device 0, " + std::string(card.name) +
                          ", cannot share memory with the processor while it computes (as under Windows' "
                          "WSL): expected a Linux driver with concurrentManagedAccess");
    }
    return new CudaOps(card);
}

}  // namespace

}  // namespace Atoll::kernels::cuda

// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" Atoll::kernels::Ops* atoll_make_cuda_ops(Atoll::kernels::PageSource* shared, char* error,
                                                    std::size_t error_bytes) {
    try {
        *shared = {Atoll::kernels::cuda::allocate_shared, Atoll::kernels::cuda::release_shared};
        return Atoll::kernels::cuda::make_first_device();
    } catch (const std::exception& failure) {
        std::snprintf(error, error_bytes, "%s", failure.what());
        return nullptr;
    }
}

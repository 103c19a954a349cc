// LayerNorm and RMSNorm: a warp a row.
#include <cmath>

#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/operations.cuh"

namespace Atoll::kernels::cuda {

namespace {

constexpr unsigned kWarps = kBlock / kWarp;

// The row of this warp; beyond the last for the warps of the last block that have none.
__device__ __forceinline__ Index my_row() { return Index{blockIdx.x} * kWarps + threadIdx.x / kWarp; }
__device__ __forceinline__ Index my_lane() { return threadIdx.x % kWarp; }

// Adds the residual, if any, on the way; returns the row that is to be normalised.
__device__ const float* residual_row(const float* x, const float* residual_in, float* residual_out, Index at,
                                     Index channels) {
    if (residual_in == nullptr) return x + at;
    for (Index j = my_lane(); j < channels; j += kWarp) {
        residual_out[at + j] = x[at + j] + residual_in[at + j];
    }
    return residual_out + at;  // each lane reads what it has written itself
}

struct NormForward {
    const float *x, *residual_in;
    float* residual_out;
    const float *weight, *bias;
    float *y, *mean, *rstd;
    Index rows, channels;
    float epsilon;
};

__global__ void layernorm_rows(NormForward n) {
    const Index row = my_row();
    if (row >= n.rows) return;
    const float* const x = residual_row(n.x, n.residual_in, n.residual_out, row * n.channels, n.channels);
    const auto channels = static_cast<float>(n.channels);
    float sum = 0;
    for (Index j = my_lane(); j < n.channels; j += kWarp) sum += x[j];
    const float mean = warp_fold(sum, Sum()) / channels;
    float squares = 0;
    for (Index j = my_lane(); j < n.channels; j += kWarp) squares += (x[j] - mean) * (x[j] - mean);
    const float rstd = 1 / sqrtf(warp_fold(squares, Sum()) / channels + n.epsilon);
    float* const y = n.y + row * n.channels;
    for (Index j = my_lane(); j < n.channels; j += kWarp) {
        y[j] = fmaf((x[j] - mean) * rstd, n.weight[j], n.bias[j]);
    }
    if (my_lane() == 0) {
        n.mean[row] = mean;
        n.rstd[row] = rstd;
    }
}

__global__ void rmsnorm_rows(NormForward n) {
    const Index row = my_row();
    if (row >= n.rows) return;
    const float* const x = residual_row(n.x, n.residual_in, n.residual_out, row * n.channels, n.channels);
    float squares = 0;
    for (Index j = my_lane(); j < n.channels; j += kWarp) squares += x[j] * x[j];
    const float mean = warp_fold(squares, Sum()) / static_cast<float>(n.channels);
    const float rstd = 1 / sqrtf(mean + n.epsilon);
    float* const y = n.y + row * n.channels;
    for (Index j = my_lane(); j < n.channels; j += kWarp) {
        y[j] = x[j] * rstd * (n.weight != nullptr ? n.weight[j] : 1);
    }
    if (my_lane() == 0) n.rstd[row] = rstd;
}

struct NormBackward {
    const float *x, *weight, *mean, *rstd, *d_y;
    float* d_x;
    Index rows, channels;
    bool accumulate;
};

// d_x = rstd (w d_y - [mean of w d_y] - normalised * mean of (w d_y normalised)); the bracket only where a
// mean was taken away.
__global__ void norm_backward_rows(NormBackward n) {
    const Index row = my_row();
    if (row >= n.rows) return;
    const float* const x = n.x + row * n.channels;
    const float* const d_y = n.d_y + row * n.channels;
    const float mean = n.mean != nullptr ? n.mean[row] : 0;
    const float rstd = n.rstd[row];
    float sum = 0, product = 0;
    for (Index j = my_lane(); j < n.channels; j += kWarp) {
        const float d = d_y[j] * (n.weight != nullptr ? n.weight[j] : 1);
        sum += d;
        product = fmaf(d, (x[j] - mean) * rstd, product);
    }
    const auto channels = static_cast<float>(n.channels);
    const float mean_d = n.mean != nullptr ? warp_fold(sum, Sum()) / channels : 0;
    const float mean_product = warp_fold(product, Sum()) / channels;
    float* const d_x = n.d_x + row * n.channels;
    for (Index j = my_lane(); j < n.channels; j += kWarp) {
        const float d = d_y[j] * (n.weight != nullptr ? n.weight[j] : 1);
        const float value = rstd * (d - mean_d - (x[j] - mean) * rstd * mean_product);
        d_x[j] = n.accumulate ? d_x[j] + value : value;
    }
}

struct WeightTerm {
    const float *x, *mean, *rstd, *d_y;
    Index channels;
    __device__ float operator()(Index row, Index column) const {
        const float center = mean != nullptr ? mean[row] : 0;
        return d_y[row * channels + column] * (x[row * channels + column] - center) * rstd[row];
    }
    [[nodiscard]] WeightTerm from(Index row) const {
        return {x + row * channels, mean != nullptr ? mean + row : nullptr, rstd + row, d_y + row * channels,
                channels};
    }
};

struct BiasTerm {
    const float* d_y;
    Index channels;
    __device__ float operator()(Index row, Index column) const { return d_y[row * channels + column]; }
    [[nodiscard]] BiasTerm from(Index row) const { return {d_y + row * channels, channels}; }
};

unsigned row_blocks(Index rows) { return blocks_for(static_cast<std::size_t>(rows), kWarps); }

}  // namespace

void bias_backward(Context& context, const float* d_y, float* d_bias, Index m, Index n) {
    add_column_sums(context, m, n, BiasTerm{d_y, n}, d_bias);
}

void layernorm_forward(Context& context, const float* x, const float* residual_in, float* residual_out,
                       const float* weight, const float* bias, float* y, float* mean, float* rstd, Index rows,
                       Index channels, float epsilon) {
    launch(context.stream(), row_blocks(rows), kBlock, 0, layernorm_rows,
           NormForward{x, residual_in, residual_out, weight, bias, y, mean, rstd, rows, channels, epsilon});
}

void layernorm_backward(Context& context, const float* x, const float* weight, const float* mean,
                        const float* rstd, const float* d_y, float* d_x, float* d_weight, float* d_bias,
                        Index rows, Index channels, bool accumulate) {
    add_column_sums(context, rows, channels, WeightTerm{x, mean, rstd, d_y, channels}, d_weight);
    add_column_sums(context, rows, channels, BiasTerm{d_y, channels}, d_bias);
    launch(context.stream(), row_blocks(rows), kBlock, 0, norm_backward_rows,
           NormBackward{x, weight, mean, rstd, d_y, d_x, rows, channels, accumulate});
}

void rmsnorm_forward(Context& context, const float* x, const float* residual_in, float* residual_out,
                     const float* weight, float* y, float* rstd, Index rows, Index channels, float epsilon) {
    launch(context.stream(), row_blocks(rows), kBlock, 0, rmsnorm_rows,
           NormForward{x, residual_in, residual_out, weight, nullptr, y, nullptr, rstd, rows, channels,
                       epsilon});
}

void rmsnorm_backward(Context& context, const float* x, const float* weight, const float* rstd,
                      const float* d_y, float* d_x, float* d_weight, Index rows, Index channels,
                      bool accumulate) {
    if (d_weight != nullptr) {
        add_column_sums(context, rows, channels, WeightTerm{x, nullptr, rstd, d_y, channels}, d_weight);
    }
    launch(context.stream(), row_blocks(rows), kBlock, 0, norm_backward_rows,
           NormBackward{x, weight, nullptr, rstd, d_y, d_x, rows, channels, accumulate});
}

}  // namespace Atoll::kernels::cuda

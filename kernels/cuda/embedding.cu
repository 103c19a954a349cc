#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.cuh"

namespace Atoll::kernels::cuda {

namespace {

__global__ void gather(const std::int32_t* tokens, const float* token_table, const float* position_table,
                       float* out, Index rows, Index sequence, Index channels) {
    const Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= rows * channels) return;
    const Index row = i / channels, channel = i % channels;
    const float position =
        position_table != nullptr ? position_table[row % sequence * channels + channel] : 0;
    out[i] = token_table[Index{tokens[row]} * channels + channel] + position;
}

// A block for each different token: rows[starts[b]..starts[b + 1]) are those that have it, in order. No two
// blocks write the same place, and the order of summation is fixed.
__global__ void scatter(const std::int32_t* rows, const std::int32_t* starts, const std::int32_t* tokens,
                        const float* d_out, float* d_token_table, Index channels) {
    const std::int32_t begin = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    float* const d_token = d_token_table + Index{tokens[blockIdx.x]} * channels;
    for (Index channel = threadIdx.x; channel < channels; channel += blockDim.x) {
        float total = 0;
        for (std::int32_t i = begin; i < end; ++i) total += d_out[Index{rows[i]} * channels + channel];
        d_token[channel] += total;
    }
}

__global__ void sum_positions(const float* d_out, float* d_position_table, Index batch, Index sequence,
                              Index channels) {
    const Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= sequence * channels) return;
    float total = 0;
    for (Index b = 0; b < batch; ++b) total += d_out[b * sequence * channels + i];
    d_position_table[i] += total;
}

__global__ void rotate(float* x, const float* frequencies, Index batch, Index sequence, Index heads,
                       Index half, Index stride, Index position_offset, float direction) {
    const Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= sequence * half) return;
    const Index t = i / half, j = i % half;
    // The angle of late positions needs more digits than a float has; it is computed once for all heads.
    const double angle = static_cast<double>(position_offset + t) * static_cast<double>(frequencies[j]);
    const auto cosine = static_cast<float>(cos(angle));
    const float sine = direction * static_cast<float>(sin(angle));
    for (Index b = 0; b < batch; ++b) {
        float* const token = x + (b * sequence + t) * stride;
        for (Index h = 0; h < heads; ++h) {
            float* const head = token + h * 2 * half;
            const float low = head[j], high = head[j + half];
            head[j] = low * cosine - high * sine;
            head[j + half] = high * cosine + low * sine;
        }
    }
}

}  // namespace

void embedding_forward(Context& context, const std::int32_t* tokens, const float* token_table,
                       const float* position_table, float* out, Index batch, Index sequence, Index channels) {
    const Index rows = batch * sequence;
    if (rows == 0) return;
    launch(context.stream(), blocks_for(static_cast<std::size_t>(rows * channels)), kBlock, 0, gather, tokens,
           token_table, position_table, out, rows, sequence, channels);
}

void embedding_backward(Context& context, const std::int32_t* tokens, const float* d_out,
                        float* d_token_table, float* d_position_table, Index batch, Index sequence,
                        Index channels) {
    const auto count = static_cast<std::size_t>(batch * sequence);
    if (count == 0) return;
    // Rows sorted by token, then the starts of the runs, then the token of each run.
    std::vector<std::int32_t> rows(count), starts, distinct;
    std::iota(rows.begin(), rows.end(), 0);
    std::ranges::stable_sort(rows, {}, [&](std::int32_t row) { return tokens[row]; });
    for (std::size_t i = 0; i < count; ++i) {
        const std::int32_t token = tokens[rows[i]];
        if (!distinct.empty() && distinct.back() == token) continue;
        starts.push_back(static_cast<std::int32_t>(i));
        distinct.push_back(token);
    }
    starts.push_back(static_cast<std::int32_t>(count));
    const std::size_t runs = distinct.size();
    rows.insert(rows.end(), starts.begin(), starts.end());
    rows.insert(rows.end(), distinct.begin(), distinct.end());
    auto* const indices = context.scratch<std::int32_t>(Context::Scratch::indices, rows.size());
    check(cudaMemcpyAsync(indices, rows.data(), rows.size() * sizeof(std::int32_t), cudaMemcpyHostToDevice,
                          context.stream()),
          "copy of token rows");
    launch(context.stream(), static_cast<unsigned>(runs), kBlock, 0, scatter, indices, indices + count,
           indices + count + runs + 1, d_out, d_token_table, channels);
    if (d_position_table != nullptr) {
        launch(context.stream(), blocks_for(static_cast<std::size_t>(sequence * channels)), kBlock, 0,
               sum_positions, d_out, d_position_table, batch, sequence, channels);
    }
}

void rope(Context& context, float* x, const float* frequencies, Index batch, Index sequence, Index heads,
          Index head_dim, Index stride, Index position_offset, bool inverse) {
    const Index half = head_dim / 2;
    if (batch * sequence * half == 0) return;
    launch(context.stream(), blocks_for(static_cast<std::size_t>(sequence * half)), kBlock, 0, rotate, x,
           frequencies, batch, sequence, heads, half, stride, position_offset, inverse ? -1.0F : 1.0F);
}

}  // namespace Atoll::kernels::cuda

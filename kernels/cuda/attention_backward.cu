// Gradient of causal attention, scores computed anew (Dao et al. 2022, FlashAttention, algorithm 4). One
// kernel for keys and values and one for queries: each sums what it owns, in a fixed order and without
// atomics.
#include <cmath>

#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.cuh"

namespace Atoll::kernels::cuda {

namespace {

// delta[b, h, t] = sum over d of out d_out: block (group of tokens, head, sequence), a warp a token.
__global__ void outputs_dot(AttentionBackward a, float* delta) {
    const Attention& f = a.forward;
    const Index t = Index{blockIdx.x} * (blockDim.x / kWarp) + threadIdx.x / kWarp;
    if (t >= f.sequence) return;
    const Index h = blockIdx.y, b = blockIdx.z;
    const Index at = ((b * f.sequence + t) * f.heads + h) * f.head_dim;
    float total = 0;
    for (Index d = threadIdx.x % kWarp; d < f.head_dim; d += kWarp) {
        total = fmaf(f.out[at + d], a.d_out[at + d], total);
    }
    total = warp_fold(total, Sum());
    if (threadIdx.x % kWarp == 0) delta[(b * f.heads + h) * f.sequence + t] = total;
}

// A tile of queries (with the gradient of their outputs) beside a tile of keys, in shared memory.
template <int kTile>
struct Tiles {
    __device__ explicit Tiles(Index dim)
        : q(shared_floats()),
          d_out(q + tile_floats(kTile, dim)),
          k(d_out + tile_floats(kTile, dim)),
          v(k + tile_floats(kTile, dim)),
          weights(v + tile_floats(kTile, dim)),
          d_scores(weights + tile_floats(kTile, kTile)),
          sums(d_scores + tile_floats(kTile, kTile)) {}
    float *q, *d_out, *k, *v;
    float *weights, *d_scores;  // [query, key]
    float* sums;                // what the block owns

    __device__ void load_queries(const AttentionBackward& a, Index b, Index h, Index begin) {
        const Attention& f = a.forward;
        const Index width = f.heads * f.head_dim;
        load_tile<kTile>(q, f.q + b * f.sequence * f.q_stride + h * f.head_dim, f.q_stride, begin, f.sequence,
                         f.head_dim, 1);
        load_tile<kTile>(d_out, a.d_out + b * f.sequence * width + h * f.head_dim, width, begin, f.sequence,
                         f.head_dim, 1);
    }
    __device__ void load_keys(const AttentionBackward& a, Index b, Index kv, Index begin) {
        const Attention& f = a.forward;
        load_tile<kTile>(k, f.k + b * f.sequence * f.k_stride + kv * f.head_dim, f.k_stride, begin,
                         f.sequence, f.head_dim, 1);
        load_tile<kTile>(v, f.v + b * f.sequence * f.v_stride + kv * f.head_dim, f.v_stride, begin,
                         f.sequence, f.head_dim, 1);
    }
    // P = exp(scale q k - lse), dS = scale P (d_out v - delta); zero where masked.
    __device__ void score(const AttentionBackward& a, const float* delta, Index b, Index h, Index query,
                          Index key) {
        const Attention& f = a.forward;
        const Index width = f.head_dim + 1, row = (b * f.heads + h) * f.sequence;
        for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile; i += static_cast<int>(blockDim.x)) {
            const int qi = i / kTile, ki = i % kTile;
            float weight = 0, d_score = 0;
            if (key + ki <= query + qi && query + qi < f.sequence) {
                const float s = f.scale * dot(q + qi * width, k + ki * width, f.head_dim);
                weight = expf(s - f.lse[row + query + qi]);
                const float d_weight = dot(d_out + qi * width, v + ki * width, f.head_dim);
                d_score = f.scale * weight * (d_weight - delta[row + query + qi]);
            }
            weights[qi * (kTile + 1) + ki] = weight;
            d_scores[qi * (kTile + 1) + ki] = d_score;
        }
    }
};

// Block (key tile, key/value head, sequence).
template <int kTile>
__global__ void __launch_bounds__(kAttentionBlock) keys_and_values(AttentionBackward a, const float* delta) {
    const Attention& f = a.forward;
    const Index dim = f.head_dim, width = dim + 1;
    const Index key = Index{blockIdx.x} * kTile, kv = blockIdx.y, b = blockIdx.z;
    Tiles<kTile> tiles(dim);
    float* const d_k = tiles.sums;
    float* const d_v = d_k + tile_floats(kTile, dim);
    constexpr int kLanes = kLanesOfRow<kTile>;
    const int row = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
    for (Index d = lane; d < dim; d += kLanes) d_k[row * width + d] = d_v[row * width + d] = 0;
    tiles.load_keys(a, b, kv, key);
    const Index group = f.heads / f.kv_heads;
    for (Index h = kv * group; h < (kv + 1) * group; ++h) {
        for (Index query = key; query < f.sequence; query += kTile) {
            __syncthreads();
            tiles.load_queries(a, b, h, query);
            __syncthreads();
            tiles.score(a, delta, b, h, query, key);
            __syncthreads();
            for (Index d = lane; d < dim; d += kLanes) {
                float sum_k = d_k[row * width + d], sum_v = d_v[row * width + d];
                for (int i = 0; i < kTile; ++i) {
                    sum_k = fmaf(tiles.d_scores[i * (kTile + 1) + row], tiles.q[i * width + d], sum_k);
                    sum_v = fmaf(tiles.weights[i * (kTile + 1) + row], tiles.d_out[i * width + d], sum_v);
                }
                d_k[row * width + d] = sum_k;
                d_v[row * width + d] = sum_v;
            }
        }
    }
    if (key + row >= f.sequence) return;
    const Index token = b * f.sequence + key + row;
    for (Index d = lane; d < dim; d += kLanes) {
        a.d_k[token * f.k_stride + kv * dim + d] = d_k[row * width + d];
        a.d_v[token * f.v_stride + kv * dim + d] = d_v[row * width + d];
    }
}

// Block (query tile, head, sequence).
template <int kTile>
__global__ void __launch_bounds__(kAttentionBlock) queries(AttentionBackward a, const float* delta) {
    const Attention& f = a.forward;
    const Index dim = f.head_dim, width = dim + 1;
    const Index query = Index{blockIdx.x} * kTile, h = blockIdx.y, b = blockIdx.z;
    Tiles<kTile> tiles(dim);
    float* const d_q = tiles.sums;
    constexpr int kLanes = kLanesOfRow<kTile>;
    const int row = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
    for (Index d = lane; d < dim; d += kLanes) d_q[row * width + d] = 0;
    tiles.load_queries(a, b, h, query);
    for (Index key = 0; key < query + kTile && key < f.sequence; key += kTile) {
        __syncthreads();
        tiles.load_keys(a, b, h / (f.heads / f.kv_heads), key);
        __syncthreads();
        tiles.score(a, delta, b, h, query, key);
        __syncthreads();
        for (Index d = lane; d < dim; d += kLanes) {
            float sum = d_q[row * width + d];
            for (int j = 0; j < kTile; ++j) {
                sum = fmaf(tiles.d_scores[row * (kTile + 1) + j], tiles.k[j * width + d], sum);
            }
            d_q[row * width + d] = sum;
        }
    }
    if (query + row >= f.sequence) return;
    for (Index d = lane; d < dim; d += kLanes) {
        a.d_q[(b * f.sequence + query + row) * f.q_stride + h * dim + d] = d_q[row * width + d];
    }
}

}  // namespace

void attention_backward(Context& context, const AttentionBackward& a) {
    const Attention& f = a.forward;
    const auto rows = static_cast<std::size_t>(f.batch * f.sequence * f.heads);
    if (rows == 0) return;
    auto* const delta = context.scratch<float>(Context::Scratch::partial, rows);
    const dim3 tokens(blocks_for(static_cast<std::size_t>(f.sequence), kBlock / kWarp),
                      static_cast<unsigned>(f.heads), static_cast<unsigned>(f.batch));
    launch(context.stream(), tokens, kBlock, 0, outputs_dot, a, delta);
    constexpr int kTiles = 4, kSquares = 2;  // struct Tiles without its sums
    with_tile(f.head_dim, kTiles + 2, kSquares, [&]<int kTile>() {
        const auto shared = [&](int sums) {
            return shared_bytes(kTile, f.head_dim, kTiles + sums, kSquares);
        };
        const unsigned blocks = blocks_for(static_cast<std::size_t>(f.sequence), kTile);
        const auto batch = static_cast<unsigned>(f.batch);
        launch(context.stream(), dim3(blocks, static_cast<unsigned>(f.kv_heads), batch), kAttentionBlock,
               shared(2), keys_and_values<kTile>, a, static_cast<const float*>(delta));
        launch(context.stream(), dim3(blocks, static_cast<unsigned>(f.heads), batch), kAttentionBlock,
               shared(1), queries<kTile>, a, static_cast<const float*>(delta));
    });
}

}  // namespace Atoll::kernels::cuda

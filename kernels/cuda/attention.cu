// Causal attention without a T x T matrix (Dao et al. 2022, FlashAttention, algorithm 1), in fp32.
#include <cmath>

#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.cuh"

namespace Atoll::kernels::cuda {

namespace {

// Block (query tile, head, sequence). A query belongs to kLanesOfRow lanes, which carry its running maximum
// and sum; the weighted sum of the values is in shared memory, each element touched by one lane only.
template <int kTile>
__global__ void __launch_bounds__(kAttentionBlock) attend(Attention a) {
    const Index dim = a.head_dim, width = dim + 1;
    float* const q = shared_floats();
    float* const k = q + tile_floats(kTile, dim);
    float* const v = k + tile_floats(kTile, dim);
    float* const out = v + tile_floats(kTile, dim);
    float* const weights = out + tile_floats(kTile, dim);
    const Index begin = Index{blockIdx.x} * kTile, h = blockIdx.y, b = blockIdx.z;
    const Index kv = h / (a.heads / a.kv_heads);
    const Index end = begin + kTile < a.sequence ? begin + kTile : a.sequence;

    constexpr int kLanes = kLanesOfRow<kTile>, kKeysOfLane = kTile / kLanes;
    const int row = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
    load_tile<kTile>(q, a.q + b * a.sequence * a.q_stride + h * dim, a.q_stride, begin, end, dim, a.scale);
    for (Index d = lane; d < dim; d += kLanes) out[row * width + d] = 0;
    float largest = -INFINITY, total = 0;

    for (Index key = 0; key < end; key += kTile) {
        __syncthreads();
        load_tile<kTile>(k, a.k + b * a.sequence * a.k_stride + kv * dim, a.k_stride, key, end, dim, 1);
        load_tile<kTile>(v, a.v + b * a.sequence * a.v_stride + kv * dim, a.v_stride, key, end, dim, 1);
        __syncthreads();
        float score[kKeysOfLane];
        float block_largest = -INFINITY;
        for (int i = 0; i < kKeysOfLane; ++i) {
            const int j = lane + i * kLanes;
            score[i] = key + j <= begin + row ? dot(q + row * width, k + j * width, dim) : -INFINITY;
            block_largest = fmaxf(block_largest, score[i]);
        }
        const float now = fmaxf(largest, fold_row<kTile>(block_largest, Largest()));
        float sum = 0;
        for (int i = 0; i < kKeysOfLane; ++i) {
            const float weight = expf(score[i] - now);
            weights[row * (kTile + 1) + lane + i * kLanes] = weight;
            sum += weight;
        }
        const float rescale = expf(largest - now);
        total = total * rescale + fold_row<kTile>(sum, Sum());
        largest = now;
        __syncwarp();  // the row's weights are there
        for (Index d = lane; d < dim; d += kLanes) {
            float value = out[row * width + d] * rescale;
            for (int j = 0; j < kTile; ++j) {
                value = fmaf(weights[row * (kTile + 1) + j], v[j * width + d], value);
            }
            out[row * width + d] = value;
        }
    }
    if (begin + row >= end) return;
    const Index token = b * a.sequence + begin + row;
    for (Index d = lane; d < dim; d += kLanes) {
        a.out[token * a.heads * dim + h * dim + d] = out[row * width + d] / total;
    }
    if (lane == 0) a.lse[(b * a.heads + h) * a.sequence + begin + row] = largest + logf(total);
}

// Block (head, sequence): keys in runs of one a thread, as above with one query.
__global__ void attend_cached(AttentionDecode a) {
    float* const scratch = shared_floats();
    float* const weights = scratch + kAttentionBlock / kWarp;
    float* const out = weights + kAttentionBlock;
    const Index dim = a.head_dim, h = blockIdx.x, b = blockIdx.y;
    const Index kv = h / (a.heads / a.kv_heads);
    const Index stride = a.kv_heads * dim;
    const float* const q = a.q + (b * a.heads + h) * dim;
    const float* const keys = a.k_cache + b * a.length_max * stride + kv * dim;
    const float* const values = a.v_cache + b * a.length_max * stride + kv * dim;
    for (Index d = threadIdx.x; d < dim; d += blockDim.x) out[d] = 0;
    float largest = -INFINITY, total = 0;
    for (Index key = 0; key < a.length; key += blockDim.x) {
        const Index mine = key + threadIdx.x;
        const float score = mine < a.length ? a.scale * dot(q, keys + mine * stride, dim) : -INFINITY;
        const float now = fmaxf(largest, block_fold(score, scratch, Largest()));
        const float weight = expf(score - now);
        weights[threadIdx.x] = weight;
        const float rescale = expf(largest - now);
        total = total * rescale + block_fold(weight, scratch, Sum());
        largest = now;
        const Index count = a.length - key < blockDim.x ? a.length - key : Index{blockDim.x};
        for (Index d = threadIdx.x; d < dim; d += blockDim.x) {
            float value = out[d] * rescale;
            for (Index j = 0; j < count; ++j) value = fmaf(weights[j], values[(key + j) * stride + d], value);
            out[d] = value;
        }
        __syncthreads();  // before the weights are written again
    }
    for (Index d = threadIdx.x; d < dim; d += blockDim.x) {
        a.out[(b * a.heads + h) * dim + d] = out[d] / total;
    }
}

}  // namespace

void attention_forward(Context& context, const Attention& a) {
    if (a.batch * a.sequence == 0) return;
    constexpr int kTiles = 4, kSquares = 1;  // q, k, v, out; weights
    with_tile(a.head_dim, kTiles, kSquares, [&]<int kTile>() {
        const dim3 grid(blocks_for(static_cast<std::size_t>(a.sequence), kTile),
                        static_cast<unsigned>(a.heads), static_cast<unsigned>(a.batch));
        launch(context.stream(), grid, kAttentionBlock, shared_bytes(kTile, a.head_dim, kTiles, kSquares),
               attend<kTile>, a);
    });
}

void attention_decode(Context& context, const AttentionDecode& a) {
    const auto shared = static_cast<std::size_t>(kAttentionBlock / kWarp + kAttentionBlock + a.head_dim);
    launch(context.stream(), dim3(static_cast<unsigned>(a.heads), static_cast<unsigned>(a.batch)),
           kAttentionBlock, shared * sizeof(float), attend_cached, a);
}

}  // namespace Atoll::kernels::cuda

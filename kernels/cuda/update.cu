#include <cmath>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.cuh"

namespace Atoll::kernels::cuda {

namespace {

// beta state + (1 - beta) x
__device__ __forceinline__ float average(float beta, float state, float x) {
    const auto rest = static_cast<float>(1 - static_cast<double>(beta));
    return fmaf(beta, state, rest * x);
}
__device__ __forceinline__ float sign(float x) { return x == 0 ? 0.0F : copysignf(1.0F, x); }
__device__ __forceinline__ float denominator(float root_scale, float v, float epsilon) {
    return fmaf(sqrtf(v), root_scale, epsilon);
}
__device__ __forceinline__ float cut(float x, float limit) { return fminf(fmaxf(x, -limit), limit); }
__device__ __forceinline__ float gradient(const UpdateRange& at, std::size_t i) {
    return at.gradient_scale * at.gradients[i];
}
// x = decay x - rate direction
__device__ __forceinline__ void descend(const UpdateRange& at, std::size_t i, float rate, float direction) {
    at.parameters[i] = fmaf(-rate, direction, at.decay * at.parameters[i]);
}

__device__ void apply(const AdamUpdate& s, std::size_t i) {
    const float g = gradient(s.at, i);
    const float m = s.m[i] = average(s.beta1, s.m[i], g);
    const float v = s.v[i] = average(s.beta2, s.v[i], g * g);
    descend(s.at, i, s.rate, m / denominator(s.root_scale, v, s.epsilon));
}
__device__ void apply(const AdoptUpdate& s, std::size_t i) {
    const float g = gradient(s.at, i);
    const float normalized = cut(g / fmaxf(sqrtf(s.v[i]), s.epsilon), s.clip);
    const float m = s.m[i] = average(s.beta1, s.m[i], normalized);
    s.v[i] = average(s.beta2, s.v[i], g * g);
    descend(s.at, i, s.rate, m);
}
__device__ void apply(const AdemamixUpdate& s, std::size_t i) {
    const float g = gradient(s.at, i);
    const float m = s.m[i] = average(s.beta1, s.m[i], g);
    const float v = s.v[i] = average(s.beta2, s.v[i], g * g);
    const float slow = s.slow[i] = average(s.beta3, s.slow[i], g);
    descend(s.at, i, s.rate, fmaf(s.alpha, slow, s.mean_scale * m) / denominator(s.root_scale, v, s.epsilon));
}
__device__ void apply(const LionUpdate& s, std::size_t i) {
    const float g = gradient(s.at, i);
    const float before = s.m[i];
    s.m[i] = average(s.beta2, before, g);
    descend(s.at, i, s.rate, sign(average(s.beta1, before, g)));
}
__device__ void apply(const SignumUpdate& s, std::size_t i) {
    const float g = gradient(s.at, i);
    const float m = s.m[i] = fmaf(s.beta, s.m[i], g);
    descend(s.at, i, s.rate, sign(fmaf(s.momentum_weight, m, s.gradient_weight * g)));
}
__device__ void apply(const MarsUpdate& s, std::size_t i) {
    const float g = gradient(s.at, i);
    const float c = s.scale * fmaf(s.correction, g - s.previous[i], g);
    s.previous[i] = g;
    const float m = s.m[i] = average(s.beta1, s.m[i], c);
    const float v = s.v[i] = average(s.beta2, s.v[i], c * c);
    descend(s.at, i, s.rate, m / denominator(s.root_scale, v, s.epsilon));
}
__device__ void apply(const ScheduleFreeUpdate& s, std::size_t i) {
    const float g = gradient(s.at, i);
    const float x = s.at.parameters[i];
    const float y = fmaf(static_cast<float>(1 - static_cast<double>(s.beta1)), s.lead[i], x);
    const float v = s.v[i] = average(s.beta2, s.v[i], g * g);
    const float direction = fmaf(s.weight_decay, y, g / denominator(s.root_scale, v, s.epsilon));
    const float ahead = fmaf(-s.rate, direction, s.lead[i]);
    s.at.parameters[i] = fmaf(s.share, ahead, x);
    s.lead[i] = (1 - s.share) * ahead;
}
__device__ void apply(const SophiaUpdate& s, std::size_t i) {
    const float m = s.m[i] = average(s.beta1, s.m[i], gradient(s.at, i));
    descend(s.at, i, s.rate, cut(m / fmaf(s.curvature_scale, s.h[i], s.floor), 1));
}
__device__ void apply(const ProdigyUpdate& s, std::size_t i) {
    // Where m, v and epsilon are all zero nothing has moved yet.
    const float moved = s.m[i] == 0 ? 0.0F : s.m[i] / denominator(1, s.v[i], s.epsilon);
    descend(s.at, i, s.rate, moved);
}
__device__ void apply(const SquareUpdate& s, std::size_t i) {
    const float g = gradient(s.at, i);
    s.v[i] = average(s.beta, s.v[i], g * g);
}
__device__ void apply(const MomentumUpdate& s, std::size_t i) {
    const float g = gradient(s.at, i);
    const float m = s.m[i] = fmaf(s.beta, s.m[i], s.gradient_weight * g);
    s.out[i] = fmaf(s.momentum_weight, m, s.lookahead * g);
}
__device__ void apply(const PreconditionUpdate& s, std::size_t i) {
    const float g = gradient(s.at, i);
    const float v = s.v[i] = average(s.beta, s.v[i], g * g);
    s.out[i] = s.m[i] / denominator(1, v, s.epsilon);
}

template <typename Step>
__global__ void update_elements(Step step) {
    const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i < step.at.size) apply(step, i);
}

// A block a row.
__global__ void update_row(RowAdamUpdate s) {
    float* const scratch = shared_floats();
    const std::size_t at = std::size_t{blockIdx.x} * s.columns;
    float squares = 0;
    for (std::size_t j = threadIdx.x; j < s.columns; j += blockDim.x) {
        const float g = gradient(s.at, at + j);
        squares = fmaf(g, g, squares);
    }
    squares = block_fold(squares, scratch, Sum());
    const float v = average(s.beta2, s.v[blockIdx.x], squares / static_cast<float>(s.columns));
    __syncthreads();  // all have read v
    if (threadIdx.x == 0) s.v[blockIdx.x] = v;
    const float below = denominator(s.root_scale, v, s.epsilon);
    for (std::size_t j = threadIdx.x; j < s.columns; j += blockDim.x) {
        const float m = s.m[at + j] = average(s.beta1, s.m[at + j], gradient(s.at, at + j));
        descend(s.at, at + j, s.rate, m / below);
    }
}

}  // namespace

void update(Context& context, const Update& update) {
    std::visit(
        [&]<typename Step>(const Step& step) {
            if (step.at.size == 0) return;
            launch(context.stream(), blocks_for(step.at.size), kBlock, 0, update_elements<Step>, step);
        },
        update);
}

void update_rows(Context& context, const RowAdamUpdate& update) {
    const auto rows = static_cast<unsigned>(update.at.size / update.columns);
    if (rows == 0) return;
    launch(context.stream(), rows, kBlock, kBlock / kWarp * sizeof(float), update_row, update);
}

}  // namespace Atoll::kernels::cuda

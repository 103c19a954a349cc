#include <cmath>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.cuh"

namespace Atoll::kernels::cuda {

namespace {

struct LossRows {
    float* logits;
    const std::int32_t* targets;
    float* losses;
    Index vocabulary;
    float loss_scale, z_loss;
    bool backward;
};

// A block a row: log-sum-exp in one pass, as each thread carries its own maximum along; then, for backward,
// the gradient loss_scale (p (1 + 2 z lse) - [target]) in the place of the logits.
__global__ void loss_row(LossRows l) {
    float* const scratch = shared_floats();
    float* const logits = l.logits + Index{blockIdx.x} * l.vocabulary;
    const std::int32_t target = l.targets[blockIdx.x];
    if (target < 0) {
        if (threadIdx.x == 0) l.losses[blockIdx.x] = 0;
        if (!l.backward) return;
        for (Index j = threadIdx.x; j < l.vocabulary; j += blockDim.x) logits[j] = 0;
        return;
    }
    float largest = -INFINITY, sum = 0;
    for (Index j = threadIdx.x; j < l.vocabulary; j += blockDim.x) {
        const float x = logits[j];
        if (x > largest) {
            sum *= expf(largest - x);
            largest = x;
        }
        sum += expf(x - largest);
    }
    // A thread that saw no number has the sum 0, or NaN if that is what it saw.
    const float top = block_fold(largest, scratch, Largest());
    const float total = block_fold(largest == -INFINITY ? sum : sum * expf(largest - top), scratch, Sum());
    const float lse = top + logf(total);
    const float at_target = logits[target];
    __syncthreads();  // all have read the target's logit
    if (threadIdx.x == 0) l.losses[blockIdx.x] = lse - at_target + l.z_loss * lse * lse;
    if (!l.backward) return;
    const float factor = l.loss_scale * (1 + 2 * l.z_loss * lse);
    for (Index j = threadIdx.x; j < l.vocabulary; j += blockDim.x) {
        logits[j] = factor * expf(logits[j] - lse) - (j == target ? l.loss_scale : 0);
    }
}

}  // namespace

void loss_rows(Context& context, float* logits, const std::int32_t* targets, float* losses, Index rows,
               Index vocabulary, float loss_scale, float z_loss, bool backward) {
    launch(context.stream(), static_cast<unsigned>(rows), kBlock, kBlock / kWarp * sizeof(float), loss_row,
           LossRows{logits, targets, losses, vocabulary, loss_scale, z_loss, backward});
}

}  // namespace Atoll::kernels::cuda

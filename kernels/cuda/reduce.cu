// Reductions in a fixed order: each block sums a contiguous part, a last kernel the parts in order.
#include <cmath>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.cuh"

namespace Atoll::kernels::cuda {

namespace {

// Elements of one block. The same whatever the card, so that all cards sum in the same order.
constexpr std::size_t kPart = 16384;

// Term(i) gives the `kSums` things that are added up for element i.
template <int kSums>
struct Terms {
    double value[kSums];
};

template <int kSums, typename Term>
__global__ void sum_parts(std::size_t size, Term term, Terms<kSums>* partial) {
    auto* const scratch = reinterpret_cast<double*>(shared_floats());
    const std::size_t begin = std::size_t{blockIdx.x} * kPart;
    const std::size_t end = begin + kPart < size ? begin + kPart : size;
    Terms<kSums> total = {};
    for (std::size_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
        const Terms<kSums> terms = term(i);
        for (int k = 0; k < kSums; ++k) total.value[k] += terms.value[k];
    }
    for (int k = 0; k < kSums; ++k) total.value[k] = block_fold(total.value[k], scratch, Sum());
    if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

template <int kSums>
__global__ void sum_partial(unsigned parts, const Terms<kSums>* partial, Terms<kSums>* total) {
    auto* const scratch = reinterpret_cast<double*>(shared_floats());
    Terms<kSums> mine = {};
    for (unsigned part = threadIdx.x; part < parts; part += blockDim.x) {
        for (int k = 0; k < kSums; ++k) mine.value[k] += partial[part].value[k];
    }
    for (int k = 0; k < kSums; ++k) mine.value[k] = block_fold(mine.value[k], scratch, Sum());
    if (threadIdx.x == 0) *total = mine;
}

template <int kSums, typename Term>
Terms<kSums> sum_of(Context& context, std::size_t size, const Term& term) {
    Terms<kSums> total = {};
    if (size == 0) return total;
    const unsigned parts = blocks_for(size, kPart);
    auto* const partial = context.scratch<Terms<kSums>>(Context::Scratch::partial, parts + std::size_t{1});
    constexpr std::size_t kScratch = kBlock / kWarp * sizeof(double);
    launch(context.stream(), parts, kBlock, kScratch, sum_parts<kSums, Term>, size, term, partial + 1);
    launch(context.stream(), 1, kBlock, kScratch, sum_partial<kSums>, parts, partial + 1, partial);
    check(cudaMemcpyAsync(&total, partial, sizeof total, cudaMemcpyDeviceToHost, context.stream()),
          "copy of a sum");
    context.synchronize();
    return total;
}

struct Value {
    const float* x;
    __device__ Terms<1> operator()(std::size_t i) const { return {{static_cast<double>(x[i])}}; }
};
struct Square {
    const float* x;
    __device__ Terms<1> operator()(std::size_t i) const {
        const auto value = static_cast<double>(x[i]);
        return {{value * value}};
    }
};
struct SquareOfSum {
    float a;
    const float* x;
    float b;
    const float* y;
    __device__ Terms<1> operator()(std::size_t i) const {
        const auto value = static_cast<double>(fmaf(a, x[i], b * y[i]));
        return {{value * value}};
    }
};
struct Moments {
    ProdigyMoments s;
    __device__ Terms<2> operator()(std::size_t i) const {
        const float g = s.at.gradient_scale * s.at.gradients[i];
        s.m[i] = fmaf(s.beta1, s.m[i], s.first_weight * g);
        s.v[i] = fmaf(s.beta2, s.v[i], s.second_weight * g * g);
        const float sum = s.s[i] = fmaf(s.beta3, s.s[i], s.sum_weight * g);
        return {{static_cast<double>(g) * static_cast<double>(s.start[i] - s.at.parameters[i]),
                 static_cast<double>(fabsf(sum))}};
    }
};

}  // namespace

double sum(Context& context, const float* x, std::size_t size) {
    return sum_of<1>(context, size, Value{x}).value[0];
}
double squared_norm(Context& context, const float* x, std::size_t size) {
    return sum_of<1>(context, size, Square{x}).value[0];
}
double squared_norm_of_sum(Context& context, float a, const float* x, float b, const float* y,
                           std::size_t size) {
    return sum_of<1>(context, size, SquareOfSum{a, x, b, y}).value[0];
}
ProdigySums prodigy_moments(Context& context, const ProdigyMoments& step) {
    const Terms<2> sums = sum_of<2>(context, step.at.size, Moments{step});
    return {sums.value[0], sums.value[1]};
}

}  // namespace Atoll::kernels::cuda

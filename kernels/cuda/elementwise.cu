#include <cuda_bf16.h>

#include <cmath>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.cuh"

namespace Atoll::kernels::cuda {

namespace {

// Element i of 0..size-1, each exactly once.
template <typename Element>
__global__ void each(std::size_t size, Element element) {
    const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i < size) element(i);
}

template <typename Element>
void for_each(Context& context, std::size_t size, const Element& element) {
    if (size == 0) return;
    launch(context.stream(), blocks_for(size), kBlock, 0, each<Element>, size, element);
}

struct Axpy {
    float alpha;
    const float* x;
    float* y;
    __device__ void operator()(std::size_t i) const { y[i] = fmaf(alpha, x[i], y[i]); }
};
struct Add {
    const float *a, *b;
    float* out;
    __device__ void operator()(std::size_t i) const { out[i] = a[i] + b[i]; }
};
struct Scale {
    float alpha;
    float* x;
    __device__ void operator()(std::size_t i) const { x[i] *= alpha; }
};
struct Fill {
    float* x;
    float value;
    __device__ void operator()(std::size_t i) const { x[i] = value; }
};
struct Round {
    const float* from;
    __nv_bfloat16* to;
    __device__ void operator()(std::size_t i) const { to[i] = __float2bfloat16_rn(from[i]); }
};

constexpr float kRootOfTwoOverPi = 0.7978845608028654F;
constexpr float kCubic = 0.044715F;

struct GeluForward {
    const float* x;
    float* y;
    __device__ void operator()(std::size_t i) const {
        const float v = x[i];
        y[i] = 0.5F * v * (1 + tanhf(kRootOfTwoOverPi * (v + kCubic * v * v * v)));
    }
};
struct GeluBackward {
    const float *x, *d_y;
    float* d_x;
    __device__ void operator()(std::size_t i) const {
        const float v = x[i];
        const float t = tanhf(kRootOfTwoOverPi * (v + kCubic * v * v * v));
        const float d_inner = kRootOfTwoOverPi * (1 + 3 * kCubic * v * v);
        d_x[i] = d_y[i] * (0.5F * (1 + t) + 0.5F * v * (1 - t * t) * d_inner);
    }
};

struct SwigluForward {
    const float* gate_up;
    float* y;
    std::size_t inner;
    __device__ void operator()(std::size_t i) const {
        const float* const row = gate_up + i / inner * 2 * inner;
        const float gate = row[i % inner];
        y[i] = gate / (1 + expf(-gate)) * row[inner + i % inner];
    }
};
struct SwigluBackward {
    const float *gate_up, *d_y;
    float* d_gate_up;
    std::size_t inner;
    __device__ void operator()(std::size_t i) const {
        const std::size_t at = i / inner * 2 * inner + i % inner;
        const float gate = gate_up[at], up = gate_up[at + inner];
        const float sigmoid = 1 / (1 + expf(-gate));
        d_gate_up[at] = d_y[i] * up * sigmoid * (1 + gate * (1 - sigmoid));
        d_gate_up[at + inner] = d_y[i] * gate * sigmoid;
    }
};

}  // namespace

void axpy(Context& context, float alpha, const float* x, float* y, std::size_t size) {
    for_each(context, size, Axpy{alpha, x, y});
}
void add(Context& context, const float* a, const float* b, float* out, std::size_t size) {
    for_each(context, size, Add{a, b, out});
}
void scale(Context& context, float alpha, float* x, std::size_t size) {
    for_each(context, size, Scale{alpha, x});
}
void fill(Context& context, float* x, float value, std::size_t size) {
    for_each(context, size, Fill{x, value});
}
void round_to_bf16(Context& context, const float* from, void* to, std::size_t size) {
    for_each(context, size, Round{from, static_cast<__nv_bfloat16*>(to)});
}

void gelu_forward(Context& context, const float* x, float* y, std::size_t size) {
    for_each(context, size, GeluForward{x, y});
}
void gelu_backward(Context& context, const float* x, const float* d_y, float* d_x, std::size_t size) {
    for_each(context, size, GeluBackward{x, d_y, d_x});
}
void swiglu_forward(Context& context, const float* gate_up, float* y, Index rows, Index inner) {
    for_each(context, static_cast<std::size_t>(rows * inner),
             SwigluForward{gate_up, y, static_cast<std::size_t>(inner)});
}
void swiglu_backward(Context& context, const float* gate_up, const float* d_y, float* d_gate_up, Index rows,
                     Index inner) {
    for_each(context, static_cast<std::size_t>(rows * inner),
             SwigluBackward{gate_up, d_y, d_gate_up, static_cast<std::size_t>(inner)});
}

}  // namespace Atoll::kernels::cuda

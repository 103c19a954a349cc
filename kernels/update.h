// Element-wise updates of the inner optimizers: each is one fused pass over parameters, gradient and state.
// What does not depend on the element (bias corrections, schedules) is computed once by the caller, in
// double.
//
// In the formulas g = gradient_scale * gradients[i] and, before anything else, x = decay * parameters[i].
// Assignments are in order: a formula uses the new value of what stands before it.
#pragma once

#include <cstddef>
#include <variant>

namespace Atoll::kernels {

struct UpdateRange {
    float* parameters = nullptr;
    const float* gradients = nullptr;
    std::size_t size = 0;
    float gradient_scale = 1;  // clipping, accumulation
    float decay = 1;           // 1 - learning rate * weight decay
};

// m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  x -= rate m / (root_scale sqrt(v) + epsilon)
struct AdamUpdate {
    UpdateRange at;
    float *m = nullptr, *v = nullptr;
    float beta1 = 0, beta2 = 0, rate = 0, root_scale = 1, epsilon = 0;
};

// n = g / max(sqrt(v), epsilon), cut to +-clip;  m = beta1 m + (1 - beta1) n;  x -= rate m;
// v = beta2 v + (1 - beta2) g^2
struct AdoptUpdate {
    UpdateRange at;
    float *m = nullptr, *v = nullptr;
    float beta1 = 0, beta2 = 0, rate = 0, epsilon = 0, clip = 0;
};

// m, v as Adam;  s = beta3 s + (1 - beta3) g;
// x -= rate (mean_scale m + alpha s) / (root_scale sqrt(v) + epsilon)
struct AdemamixUpdate {
    UpdateRange at;
    float *m = nullptr, *v = nullptr, *slow = nullptr;
    float beta1 = 0, beta2 = 0, beta3 = 0, alpha = 0, rate = 0, mean_scale = 1, root_scale = 1, epsilon = 0;
};

// x -= rate sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g;  sign(0) = 0
struct LionUpdate {
    UpdateRange at;
    float* m = nullptr;
    float beta1 = 0, beta2 = 0, rate = 0;
};

// m = beta m + g;  x -= rate sign(gradient_weight g + momentum_weight m);  sign(0) = 0
struct SignumUpdate {
    UpdateRange at;
    float* m = nullptr;
    float beta = 0, gradient_weight = 0, momentum_weight = 1, rate = 0;
};

// c = scale ((1 + correction) g - correction previous);  previous = g;  then Adam with c in place of g
struct MarsUpdate {
    UpdateRange at;
    float *m = nullptr, *v = nullptr, *previous = nullptr;
    float correction = 0, scale = 1;
    float beta1 = 0, beta2 = 0, rate = 0, root_scale = 1, epsilon = 0;
};

// y = x + (1 - beta1) lead, where g was taken;  v = beta2 v + (1 - beta2) g^2;
// lead -= rate (g / (root_scale sqrt(v) + epsilon) + weight_decay y);  x += share lead;  lead *= 1 - share
// at.decay is not used.
struct ScheduleFreeUpdate {
    UpdateRange at;
    float *lead = nullptr, *v = nullptr;
    float beta1 = 0, beta2 = 0, rate = 0, root_scale = 1, epsilon = 0, weight_decay = 0, share = 0;
};

// m = beta1 m + (1 - beta1) g;  x -= rate (m / (curvature_scale h + floor), cut to +-1)
struct SophiaUpdate {
    UpdateRange at;
    float* m = nullptr;
    const float* h = nullptr;
    float beta1 = 0, rate = 0, curvature_scale = 0, floor = 0;
};

// x -= rate m / (sqrt(v) + epsilon); gradients are not used
struct ProdigyUpdate {
    UpdateRange at;
    const float *m = nullptr, *v = nullptr;
    float rate = 0, epsilon = 0;
};

// v = beta v + (1 - beta) g^2; parameters are not used
struct SquareUpdate {
    UpdateRange at;
    float* v = nullptr;
    float beta = 0;
};

// m = beta m + gradient_weight g;  out = momentum_weight m + lookahead g; parameters are not used
struct MomentumUpdate {
    UpdateRange at;
    float *m = nullptr, *out = nullptr;
    float beta = 0, gradient_weight = 1, momentum_weight = 1, lookahead = 0;
};

// v = beta v + (1 - beta) g^2;  out = m / (sqrt(v) + epsilon); parameters are not used
struct PreconditionUpdate {
    UpdateRange at;
    const float* m = nullptr;
    float *v = nullptr, *out = nullptr;
    float beta = 0, epsilon = 0;
};

using Update = std::variant<AdamUpdate, AdoptUpdate, AdemamixUpdate, LionUpdate, SignumUpdate, MarsUpdate,
                            ScheduleFreeUpdate, SophiaUpdate, ProdigyUpdate, SquareUpdate, MomentumUpdate,
                            PreconditionUpdate>;

// Adam with one second moment for each row of a matrix [rows, columns]: v[r] = beta2 v[r] + (1 - beta2)
// mean(g^2 over row r); m and x as Adam. at.size = rows * columns.
struct RowAdamUpdate {
    UpdateRange at;
    std::size_t columns = 0;
    float *m = nullptr, *v = nullptr;  // v [rows]
    float beta1 = 0, beta2 = 0, rate = 0, root_scale = 1, epsilon = 0;
};

// m = beta1 m + first_weight g;  v = beta2 v + second_weight g^2;  s = beta3 s + sum_weight g. Returns,
// before x changes, the sum of g (start - x) and that of |s| (after its update), in a fixed order and in
// double; at.decay is not used.
struct ProdigyMoments {
    UpdateRange at;
    const float* start = nullptr;
    float *m = nullptr, *v = nullptr, *s = nullptr;
    float beta1 = 0, beta2 = 0, beta3 = 0, first_weight = 0, second_weight = 0, sum_weight = 0;
};
struct ProdigySums {
    double toward_start = 0;
    double absolute = 0;
};

}  // namespace Atoll::kernels

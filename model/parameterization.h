// How initial values and learning rates follow from a model's width and depth, so that those which were tuned
// on a small base model are right for a large one: muP (Yang et al. 2021, arXiv 2203.03466) and CompleteP
// (Dey et al. 2025, arXiv 2505.01618, table 1, alpha = 1).
//
// With m_N = width / base_width and m_L = layers / base_layers (muP: m_L = 1) the table's rules are, for
// Adam-like optimizers with decoupled decay:
//
//                       initial variance   learning rate   epsilon              weight decay
//   embeddings, head    s^2                eta             eps / m_N            lambda
//   hidden matrices     s^2 / m_N          eta / m_N       eps / (m_N m_L)      lambda m_N
//   hidden biases       0                  eta             eps / (m_N m_L)      0
//   norms of blocks     1                  eta             eps / (m_N m_L)      0
//   final norm          1                  eta             eps / m_N            0
//
// and in the forward pass residual branches are multiplied by 1 / m_L, logits by 1 / m_N.
//
// Atoll multiplies nothing in the forward pass: it keeps W = a w where the table has a w with the multiplier
// a, on the last matrix (and bias) of each branch and on the final norm, the head's only input. Whatever is
// linear in W computes the same, and a step of Adam on w is the step on W with the rates a eta, the epsilon
// eps / a and the initial value a w (Yang et al. 2021, section "abc-parametrizations"). So checkpoints stay
// plain models that other programs read, and what the network exchanges are plain parameters.
#pragma once

#include <vector>

#include "kernels/flat.h"
#include "model/config.h"

namespace Atoll::model {

// What a tensor's values are multiplied with, compared with a model of the standard parameterization.
struct TensorScale {
    double init = 1;     // of init_std (matrices), of 1 (norms)
    double rate = 1;     // of the learning rate; weight decay follows the rate before this
    double epsilon = 1;  // of the optimizer's epsilon
    // d loss / d w, of which the table's clipping norm is made, in units of d loss / d W.
    double gradient = 1;
    bool operator==(const TensorScale&) const = default;
};

// One a tensor of `layout`, in order. In the standard parameterization only matrices that write into the
// residual stream have an init other than 1: 1 / sqrt(2 layers), as GPT-2. The others use the base model's
// layers there: a constant, so that at the base shape all three are one and the same, bit for bit.
[[nodiscard]] std::vector<TensorScale> tensor_scales(const ModelConfig& config,
                                                     const kernels::Layout& layout);

}  // namespace Atoll::model

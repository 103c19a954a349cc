// What zeroth-order steps see of a replica: the loss at its parameters, and a way to move these along random
// directions that need no memory. A model::Trainer is one, and so is every federation::Worker.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "kernels/normals.h"

namespace Atoll::model {

enum class Draw {
    next,   // the next batch of the data
    again,  // the one that was drawn last
};

struct BatchLoss {
    double loss = 0;           // mean over the tokens, nats
    std::uint64_t tokens = 0;  // in the batch
};

class Objective {
  public:
    virtual ~Objective() = default;
    // The mean training loss of a batch at the live parameters, forward only. Errors: data unreadable.
    [[nodiscard]] virtual Result<BatchLoss> loss(Draw draw) = 0;
    // parameters[i] += scale * z_i(seed) for each term, in order. The numbers z are those of
    // kernels/normals.h at index i, the same bits for every replica; what pads the flat vector stays zero.
    virtual void add_normals(std::span<const kernels::NormalTerm> terms) = 0;
};

}  // namespace Atoll::model

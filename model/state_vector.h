// A named flat vector of training state: what a checkpoint stores and restores beside the parameters.
#pragma once

#include <span>
#include <string>

namespace Atoll::model {

struct StateVector {
    std::string name;
    std::span<float> values;
    bool common = false;  // of all tensors together: ranks that share them have it each, the same
};

}  // namespace Atoll::model

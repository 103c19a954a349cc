// From a model's shape to the layout of its flat vector, one architecture a line in a table.
#pragma once

#include "kernels/flat.h"
#include "model/config.h"

namespace Atoll::model {

// Tensors under Hugging Face's names (GPT-2: with "transformer." in front), every matrix stored [out, in] (so
// GPT-2's Conv1D weights are transposed on import and export). q, k, v (and gate, up) lie next to each other
// without padding, so that one product computes them all: validate() asks for widths that are multiples
// of 16. Precondition: validate(config) is ok.
[[nodiscard]] kernels::Layout make_layout(const ModelConfig& config);

}  // namespace Atoll::model

// Error feedback of an algorithm's exchanges: what a lossy codec left out, one vector a gossip stage, kept by
// the algorithm because it is part of its checkpoint.
#pragma once

#include <string_view>
#include <vector>

#include "federation/algorithm/algorithm.h"
#include "federation/fragments.h"
#include "federation/run_config.h"
#include "kernels/flat.h"

namespace Atoll::federation {

class Residuals {
  public:
    // `size`: floats a stage.
    Residuals(const RunConfig::CodecTable& options, std::size_t size);

    // Those of the next exchange of `stages` stages, decayed as configured; none where the codec is lossless
    // or feedback is off.
    [[nodiscard]] std::vector<std::span<float>> next(const gossip::Codec& codec, std::size_t stages);
    // The same if only these ranges of each stage are exchanged: no others decay.
    [[nodiscard]] std::vector<std::span<float>> next(const gossip::Codec& codec, std::size_t stages,
                                                     const Fragment& ranges);
    // The algorithm leaves the path they belong to.
    void forget();

    // Adds "residual.<stage>" (own) to the algorithm's state, and makes room for one of that name.
    void append_to(std::vector<StateVector>& state);
    [[nodiscard]] bool reserve(std::string_view name);

  private:
    void grow(std::size_t stages);

    bool enabled_;
    float decay_;
    std::size_t size_;
    std::vector<kernels::FlatBuffer> stages_;
};

}  // namespace Atoll::federation

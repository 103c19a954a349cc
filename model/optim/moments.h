// The vectors of an element-wise optimizer's state, in fp32 or packed: a step sees them in fp32, a part at a
// time.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/flat.h"
#include "model/optim/optimizer.h"
#include "model/optim/packed_state.h"
#include "model/state_vector.h"

namespace Atoll::model {

class Moments {
  public:
    struct Vector {
        std::string name;
        Sign sign = Sign::both;
    };
    static constexpr std::size_t kVectorsMax = 3;

    // `ranges` cover what the vectors cover, in order. Zero at first.
    Moments(StateFormat format, std::vector<DecayRange> ranges, std::vector<Vector> vectors);

    [[nodiscard]] const std::vector<DecayRange>& ranges() const { return ranges_; }

    // fp32 values of each vector for the part, that may be changed.
    using Pointers = std::array<float*, kVectorsMax>;
    // Calls `update` for the parts of range number `range`, one after the other, and keeps what it leaves in
    // the vectors. In fp32 the part is the range. `step` is the number of the step (it decides the rounding).
    void visit(std::size_t range, std::int64_t step,
               const std::function<void(const DecayRange& part, const Pointers& vectors)>& update);
    // All ranges.
    void visit(std::int64_t step,
               const std::function<void(const DecayRange& part, const Pointers& vectors)>& update);

    // As they are kept; packed ones are named after their format.
    [[nodiscard]] std::vector<StateVector> state();

  private:
    StateFormat format_;
    std::vector<DecayRange> ranges_;
    std::vector<Vector> vectors_;
    std::vector<std::size_t> begins_;         // of each range in a kept vector, in floats
    std::vector<kernels::FlatBuffer> kept_;   // a buffer a vector
    std::vector<kernels::FlatBuffer> parts_;  // fp32 of the part that is visited
};

}  // namespace Atoll::model

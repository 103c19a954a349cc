// The optimizer state of all ranks as one: what a checkpoint holds, whatever the number of ranks.
#pragma once

#include <vector>

#include "kernels/collective/collective.h"
#include "kernels/flat.h"
#include "model/state_vector.h"

namespace Atoll::model {

// All ranks call its operations together.
class SharedState {
  public:
    explicit SharedState(kernels::Collective& ranks) : ranks_(ranks) {}

    // Puts the ranks' vectors of the same name one after the other, in the order of ranks; of a `common` one
    // that of the first rank that has it. The result stands at rank 0, and is empty elsewhere, until
    // release() or the next call.
    [[nodiscard]] Result<std::vector<StateVector>> gather(const std::vector<StateVector>& mine);
    // The other way: what rank 0 has written there since becomes the ranks' own vectors. Precondition:
    // gather() came before, with the same vectors.
    [[nodiscard]] Status scatter(const std::vector<StateVector>& mine);
    void release() { whole_.clear(); }

  private:
    struct Vector {
        std::string name;
        std::vector<std::size_t> sizes;  // by rank
        bool common = false;
        kernels::FlatBuffer values;
        [[nodiscard]] kernels::Parts parts() const;
    };
    [[nodiscard]] Status describe(const std::vector<StateVector>& mine);

    kernels::Collective& ranks_;
    std::vector<Vector> whole_;
};

}  // namespace Atoll::model

// Products in a reduced precision by oneDNN, on CPUs whose instruction set has it: operands are rounded to
// bf16 and laid out as oneDNN likes them best, weights once per change. (Measured about twice as fast as
// fp32, docs/benchmarks.md.)
#pragma once

#include <memory>

#include "kernels/cpu/context.h"
#include "kernels/ops.h"

namespace Atoll::kernels::cpu {

// fp32 takes the same path without rounding, so that it can be tested on every CPU.
enum class Element { fp32, bf16 };

// Whether the CPU multiplies bf16 by itself (AVX512-BF16 or AMX).
[[nodiscard]] bool has_bf16_products();

class PackedProducts {
  public:
    // The context outlives the object.
    PackedProducts(Context& context, Element element);
    ~PackedProducts();
    PackedProducts(const PackedProducts&) = delete;
    PackedProducts& operator=(const PackedProducts&) = delete;

    // False, and nothing done, if the product is too narrow to be cut for the threads or oneDNN has no code
    // for it.
    [[nodiscard]] bool run(const Matmul& product);
    void weights_changed();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace Atoll::kernels::cpu

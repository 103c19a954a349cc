// Matrix products on all threads.
#pragma once

#include <memory>

#include "kernels/cpu/context.h"
#include "kernels/ops.h"

namespace Atoll::kernels::cpu {

// Which code multiplies one thread's tile in fp32. docs/benchmarks.md has the figures: with AVX-512 oneDNN is
// ahead; with AVX2 its driver picks a kernel without packing for tiles as narrow as a thread's share, at half
// the speed where an operand is transposed, and our own blocks (gemm.h) are ahead.
enum class TileEngine { own, onednn };

[[nodiscard]] TileEngine best_tile_engine();

class Products {
  public:
    // The context outlives the object.
    Products(Context& context, TileEngine engine);
    ~Products();
    Products(const Products&) = delete;
    Products& operator=(const Products&) = delete;

    void run(const Matmul& product);
    void weights_changed();
    [[nodiscard]] bool fast_bf16() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace Atoll::kernels::cpu

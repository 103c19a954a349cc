// Matrix products by cuBLASLt, planned once a shape.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "kernels/cuda/context.cuh"
#include "kernels/ops.h"

namespace Atoll::kernels::cuda {

class Products {
  public:
    explicit Products(Context& context);
    ~Products();
    Products(const Products&) = delete;
    Products& operator=(const Products&) = delete;

    void run(const Matmul& product);
    // Rounded copies of weights are stale from here on.
    void weights_changed() { ++generation_; }

  private:
    // m, n, k, transpositions, bias, precision, alignments of a, b and c.
    using Shape = std::array<Index, 10>;
    struct Plan;
    struct Library;
    struct Rounded {
        Memory memory;
        std::uint64_t generation = 0;
    };
    [[nodiscard]] Plan& plan_of(const Matmul& product, const void* a, const void* b);
    // The operand as the product reads it: itself, or rounded to bf16.
    [[nodiscard]] const void* operand(const float* values, std::size_t size, const Matmul& product,
                                      Context::Scratch scratch, bool weight);

    Context& context_;
    std::unique_ptr<Library> library_;
    std::map<Shape, std::unique_ptr<Plan>> plans_;
    std::map<std::pair<const float*, std::size_t>, Rounded> weights_;
    std::uint64_t generation_ = 1;
};

}  // namespace Atoll::kernels::cuda

#include "model/optim/newton_schulz.h"

#include <algorithm>
#include <cmath>

namespace Atoll::model {

namespace {

void grow(kernels::FlatBuffer& buffer, std::size_t size) {
    if (buffer.size() < size) buffer = kernels::FlatBuffer(size);
}

}  // namespace

void NewtonSchulz::orthogonalize(float* matrix, std::int64_t rows, std::int64_t columns) {
    constexpr int kSteps = 5;
    constexpr float kA = 3.4445F, kB = -4.7750F, kC = 2.0315F;
    const bool tall = rows > columns;  // then A = X^T X and X <- a X + X (b A + c A^2)
    const std::int64_t side = std::min(rows, columns);
    const auto size = static_cast<std::size_t>(rows * columns);
    const auto square = static_cast<std::size_t>(side * side);
    grow(gram_, square);
    grow(polynomial_, square);
    grow(next_, size);
    const double norm = std::sqrt(ops_.squared_norm(matrix, size));
    ops_.scale(static_cast<float>(1 / (norm + 1e-7)), matrix, size);
    float* x = matrix;
    float* y = next_.data();
    for (int i = 0; i < kSteps; ++i) {
        ops_.matmul({.a = x,
                     .b = x,
                     .c = gram_.data(),
                     .m = side,
                     .n = side,
                     .k = tall ? rows : columns,
                     .transpose_a = tall,
                     .transpose_b = !tall});
        ops_.matmul(
            {.a = gram_.data(), .b = gram_.data(), .c = polynomial_.data(), .m = side, .n = side, .k = side});
        ops_.scale(kC, polynomial_.data(), square);
        ops_.axpy(kB, gram_.data(), polynomial_.data(), square);
        ops_.matmul({.a = tall ? x : polynomial_.data(),
                     .b = tall ? polynomial_.data() : x,
                     .c = y,
                     .m = rows,
                     .n = columns,
                     .k = side});
        ops_.axpy(kA, x, y, size);
        std::swap(x, y);
    }
    if (x != matrix) std::copy_n(x, size, matrix);
}

}  // namespace Atoll::model

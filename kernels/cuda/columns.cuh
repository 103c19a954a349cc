// Sums over the rows of a matrix, one a column, in a fixed order: gradients of biases and of norms' weights.
#pragma once

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/context.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/ops.h"

namespace Atoll::kernels::cuda {

// Rows that one thread adds up before the parts are added in order. The same whatever the card.
inline constexpr Index kRowsOfPart = 64;

// partial[part, column] = sum of term(row, column) over the rows of the part.
template <typename Term>
__global__ void sum_rows(Index rows, Index columns, Term term, float* partial) {
    const Index column = Index{blockIdx.x} * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    const Index begin = Index{blockIdx.y} * kRowsOfPart;
    const Index end = begin + kRowsOfPart < rows ? begin + kRowsOfPart : rows;
    float total = 0;
    for (Index row = begin; row < end; ++row) total += term(row, column);
    partial[Index{blockIdx.y} * columns + column] = total;
}

// out[column] += sum of partial[part, column] over the parts, in order.
static __global__ void sum_row_parts(Index parts, Index columns, const float* partial, float* out) {
    const Index column = Index{blockIdx.x} * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    double total = 0;
    for (Index part = 0; part < parts; ++part) total += static_cast<double>(partial[part * columns + column]);
    out[column] += static_cast<float>(total);
}

// out[column] += sum over rows of term(row, column).
template <typename Term>
void add_column_sums(Context& context, Index rows, Index columns, const Term& term, float* out) {
    constexpr Index kPartsMax = 65535;  // a grid's second dimension
    if (columns == 0) return;
    for (Index first = 0; first < rows; first += kPartsMax * kRowsOfPart) {
        const Index count = rows - first < kPartsMax * kRowsOfPart ? rows - first : kPartsMax * kRowsOfPart;
        const Index parts = (count + kRowsOfPart - 1) / kRowsOfPart;
        auto* const partial =
            context.scratch<float>(Context::Scratch::partial, static_cast<std::size_t>(parts * columns));
        const unsigned blocks = blocks_for(static_cast<std::size_t>(columns));
        launch(context.stream(), dim3(blocks, static_cast<unsigned>(parts)), kBlock, 0, sum_rows<Term>, count,
               columns, term.from(first), partial);
        launch(context.stream(), blocks, kBlock, 0, sum_row_parts, parts, columns, partial, out);
    }
}

}  // namespace Atoll::kernels::cuda

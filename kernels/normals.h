// Standard normal numbers that are a pure function of (seed, index): what a zeroth-order step moves the
// parameters along. They are never stored and never sent: whoever has the seed makes them again, bit for bit,
// whatever the processor, its vector width and the number of threads. So
//
//   - every device uses these operations in this order, each rounded to nearest (no fused multiply-add):
//   - number i is made in blocks of 64: counters 16 b .. 16 b + 15 of Philox4x32-10 (Salmon et al. 2011) with
//     the seed as key, b = i / 64; lane l = i % 16 takes word pair (0, 1) where i % 64 < 32, else (2, 3), and
//     of the pair's two numbers the first where i % 32 < 16;
//   - a pair (u, v) gives two numbers by Box and Muller 1958: radius sqrt(-2 ln((2 (u >> 9) + 1) / 2^24)),
//     angle (v mod 2^30 >> 6) / 2^24 - 1/2 of a quarter turn, and v >> 30 quarter turns more.
//
// ln, sin and cos are polynomials (Cephes' logf, sinf, cosf). No number is beyond 5.77.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace Atoll::kernels {

// scale * z(seed), to be added to a vector.
struct NormalTerm {
    std::uint64_t seed = 0;
    float scale = 0;
};

// x[i] += scale * z(seed)[first + i] for each term, in order, on the calling thread.
void add_normals(std::span<const NormalTerm> terms, std::size_t first, float* x, std::size_t size);

}  // namespace Atoll::kernels

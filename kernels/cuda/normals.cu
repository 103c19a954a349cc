// Normal numbers from seeds: the operations of kernels/normals.h in their order, each rounded for itself (the
// intrinsics are never fused), so that a card and a processor make the same bits.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.cuh"

namespace Atoll::kernels::cuda {

namespace {

constexpr std::size_t kCounters = 16;  // of a block of 64 numbers

__device__ __forceinline__ float product(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float plus(float a, float b) { return __fadd_rn(a, b); }
// a x + b in two roundings
__device__ __forceinline__ float line(float a, float x, float b) { return plus(product(a, x), b); }

// Philox4x32-10 (Salmon et al. 2011).
__device__ void philox(std::uint64_t seed, std::uint32_t (&x)[4]) {
    constexpr std::uint32_t kFirst = 0xD2511F53U, kSecond = 0xCD9E8D57U;
    auto k0 = static_cast<std::uint32_t>(seed);
    auto k1 = static_cast<std::uint32_t>(seed >> 32U);
    for (int round = 0; round < 10; ++round) {
        const std::uint32_t high0 = __umulhi(x[0], kFirst), low0 = x[0] * kFirst;
        const std::uint32_t high1 = __umulhi(x[2], kSecond), low1 = x[2] * kSecond;
        x[0] = high1 ^ x[1] ^ k0;
        x[1] = low1;
        x[2] = high0 ^ x[3] ^ k1;
        x[3] = low0;
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
}

// ln x for x in (0, 1): x = 2^e m with m in [sqrt(1/2), sqrt(2)).
__device__ float natural_log(float x) {
    const std::uint32_t bits = __float_as_uint(x);
    const float half_to_one = __uint_as_float((bits & 0x007FFFFFU) | 0x3F000000U);
    const bool small = half_to_one < 0.70710678F;
    const float exponent =
        plus(static_cast<float>(static_cast<int>(bits >> 23U) - 126), small ? -1.0F : 0.0F);
    const float t = plus(small ? plus(half_to_one, half_to_one) : half_to_one, -1);
    float p = 7.0376836292E-2F;
    p = line(p, t, -1.1514610310E-1F);
    p = line(p, t, 1.1676998740E-1F);
    p = line(p, t, -1.2420140846E-1F);
    p = line(p, t, 1.4249322787E-1F);
    p = line(p, t, -1.6668057665E-1F);
    p = line(p, t, 2.0000714765E-1F);
    p = line(p, t, -2.4999993993E-1F);
    p = line(p, t, 3.3333331174E-1F);
    const float square = product(t, t);
    float rest = product(product(p, t), square);
    rest = plus(rest, product(exponent, -2.12194440E-4F));
    rest = plus(rest, -product(0.5F, square));
    return plus(plus(t, rest), product(exponent, 0.693359375F));
}

// Two normal numbers from two random words.
__device__ void box_muller(std::uint32_t u, std::uint32_t v, float& first, float& second) {
    const auto k = static_cast<float>(u >> 9U);
    const float uniform = product(plus(plus(k, k), 1), 0x1p-24F);
    const float radius = __fsqrt_rn(product(-2, natural_log(uniform)));

    const auto turn = static_cast<int>((v & 0x3FFFFFFFU) >> 6U);
    const float angle =
        product(static_cast<float>(turn - (1 << 23)), static_cast<float>(1.5707963267948966 * 0x1p-24));
    const float square = product(angle, angle);
    float p = -1.9515295891E-4F;
    p = line(p, square, 8.3321608736E-3F);
    p = line(p, square, -1.6666654611E-1F);
    const float sine = plus(product(product(p, square), angle), angle);
    float q = 2.443315711809948E-5F;
    q = line(q, square, -1.388731625493765E-3F);
    q = line(q, square, 4.166664568298827E-2F);
    const float cosine = plus(plus(product(product(q, square), square), product(-0.5F, square)), 1);

    // Quarter turns: (c, s), (-s, c), (-c, -s), (s, -c).
    const std::uint32_t quarter = v >> 30U;
    const bool odd = (quarter & 1U) != 0;
    const float x = product(radius, odd ? sine : cosine), y = product(radius, odd ? cosine : sine);
    first = quarter == 1 || quarter == 2 ? -x : x;
    second = quarter >= 2 ? -y : y;
}

// A thread a counter, which gives four numbers, 16 apart.
__global__ void add_numbers(const NormalTerm* terms, std::size_t count, std::size_t first, float* x,
                            std::size_t size) {
    const std::size_t counter =
        first / (4 * kCounters) * kCounters + std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const std::size_t begin = counter / kCounters * 4 * kCounters + counter % kCounters;
    float sums[4];
    for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t at = begin + k * kCounters;
        sums[k] = at >= first && at - first < size ? x[at - first] : 0;
    }
    for (std::size_t term = 0; term < count; ++term) {
        std::uint32_t words[4] = {static_cast<std::uint32_t>(counter),
                                  static_cast<std::uint32_t>(counter >> 32U), 0, 0};
        philox(terms[term].seed, words);
        float z[4];
        box_muller(words[0], words[1], z[0], z[1]);
        box_muller(words[2], words[3], z[2], z[3]);
        for (int k = 0; k < 4; ++k) sums[k] = plus(sums[k], product(terms[term].scale, z[k]));
    }
    for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t at = begin + k * kCounters;
        if (at >= first && at - first < size) x[at - first] = sums[k];
    }
}

}  // namespace

void add_normals(Context& context, const NormalTerm* terms, std::size_t count, std::size_t first, float* x,
                 std::size_t size) {
    if (count == 0 || size == 0) return;
    constexpr std::size_t kBlockNumbers = 4 * kCounters;
    const std::size_t blocks = (first + size - 1) / kBlockNumbers - first / kBlockNumbers + 1;
    launch(context.stream(), blocks_for(blocks * kCounters), kBlock, 0, add_numbers, terms, count, first, x,
           size);
}

}  // namespace Atoll::kernels::cuda

#include "kernels/sparse/top_k.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sparse/top_k.cc"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Largest magnitude of each stretch of `length` values, a multiple of 8.
void Maxima(const float* values, std::size_t count, std::size_t length, float* maxima) {
    const hn::CappedTag<float, 8> d;
    for (std::size_t at = 0; at + length <= count; at += length) {
        auto largest = hn::Zero(d);
        for (std::size_t i = at; i < at + length; i += hn::Lanes(d)) {
            largest = hn::Max(largest, hn::Abs(hn::LoadU(d, values + i)));
        }
        *maxima++ = hn::GetLane(hn::MaxOfLanes(d, largest));
    }
}

// Indices of the values whose magnitude is at least `least`, in order; returns how many. count is a multiple
// of 8.
std::size_t AtLeast(const float* values, std::size_t count, float least, std::uint16_t* indices) {
    const hn::CappedTag<float, 8> d;
    const auto threshold = hn::Set(d, least);
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; i += hn::Lanes(d)) {
        const auto mask = hn::Ge(hn::Abs(hn::LoadU(d, values + i)), threshold);
        std::uint8_t bits[8] = {};
        hn::StoreMaskBits(d, mask, bits);
        for (unsigned left = bits[0]; left != 0; left &= left - 1) {
            indices[found++] =
                static_cast<std::uint16_t>(i + static_cast<std::size_t>(std::countr_zero(left)));
        }
    }
    return found;
}

}  // namespace Atoll::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels {

HWY_EXPORT(Maxima);
HWY_EXPORT(AtLeast);

namespace {

// A bound that at least k magnitudes reach: the k-th largest among the maxima of disjoint stretches.
float lower_bound(const float* values, std::size_t count, std::size_t k) {
    for (const std::size_t length : {64U, 8U}) {
        const std::size_t stretches = count / length;
        if (stretches < k) continue;
        std::array<float, kTopKCountMax / 8> maxima;
        HWY_DYNAMIC_DISPATCH(Maxima)(values, stretches * length, length, maxima.data());
        const auto kth = maxima.begin() + static_cast<std::ptrdiff_t>(k - 1);
        std::nth_element(maxima.begin(), kth, maxima.begin() + static_cast<std::ptrdiff_t>(stretches),
                         std::greater<>());
        return *kth;
    }
    return 0;
}

}  // namespace

void top_k(const float* values, std::size_t count, std::size_t k, std::uint16_t* indices) {
    if (k == 0) return;
    const float least = lower_bound(values, count, k);
    std::array<std::uint16_t, kTopKCountMax> candidates;
    const std::size_t whole = count / 8 * 8;
    std::size_t found = HWY_DYNAMIC_DISPATCH(AtLeast)(values, whole, least, candidates.data());
    for (std::size_t i = whole; i < count; ++i) {
        if (std::abs(values[i]) >= least) candidates[found++] = static_cast<std::uint16_t>(i);
    }
    const auto larger = [values](std::uint16_t a, std::uint16_t b) {
        const float x = std::abs(values[a]), y = std::abs(values[b]);
        return x > y || (x == y && a < b);
    };
    const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(k);
    std::nth_element(candidates.begin(), end - 1, candidates.begin() + static_cast<std::ptrdiff_t>(found),
                     larger);
    std::sort(candidates.begin(), end);
    std::copy(candidates.begin(), end, indices);
}

}  // namespace Atoll::kernels
#endif  // HWY_ONCE

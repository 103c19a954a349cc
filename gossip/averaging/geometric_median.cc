// Geometric median (Pillutla, Kakade and Harchaoui 2022, arXiv 1912.13445): the point whose distances to all
// opinions have the least sum, by their smoothed Weiszfeld iteration
//
//   z <- sum_j w_j x_j,   w_j proportional to 1 / max(|z - x_j|, floor)
//
// Every z is a combination of the opinions, so that the iteration needs their pairwise distances only, and
// the vectors are combined once, at the end.
//
// Breakdown point: one half. With f liars and h > f honest members within R of a point c,
// |z - c| <= R / sqrt(1 - (f / h)^2), whatever the liars send.
#include <algorithm>
#include <cmath>

#include "gossip/averaging/entries.h"
#include "gossip/averaging/robust.h"

namespace Atoll::gossip {

namespace {

constexpr int kIterationsMax = 1000;
constexpr double kSettled = 1e-10;    // of a weight
constexpr double kFloorRatio = 1e-6;  // of the largest distance: who is nearer counts no more

std::vector<double> weiszfeld(const SquaredDistances& distances) {
    const std::size_t m = distances.members();
    std::vector<double> weights(m, 1 / static_cast<double>(m));
    double largest = 0;
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < i; ++j) largest = std::max(largest, distances(i, j));
    }
    if (largest == 0) return weights;
    const double floor = kFloorRatio * std::sqrt(largest);
    for (int iteration = 0; iteration < kIterationsMax; ++iteration) {
        std::vector<double> next = distances.from_point(weights);
        double sum = 0;
        for (double& value : next) sum += value = 1 / std::max(std::sqrt(value), floor);
        double change = 0;
        for (std::size_t i = 0; i < m; ++i) {
            next[i] /= sum;
            change = std::max(change, std::abs(next[i] - weights[i]));
        }
        weights = std::move(next);
        if (change < kSettled) break;
    }
    return weights;
}

class GeometricMedian final : public Aggregate {
    Status apply(Opinions& opinions) const override {
        ATOLL_ASSIGN(const SquaredDistances distances, SquaredDistances::of(opinions));
        return opinions.combine(weiszfeld(distances));
    }
};

}  // namespace

std::unique_ptr<Averaging> make_geometric_median(const AveragingContext& context) {
    return std::make_unique<RobustGossip>(context, std::make_unique<GeometricMedian>());
}

}  // namespace Atoll::gossip

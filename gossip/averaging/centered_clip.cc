// Centered clipping (Karimireddy, He and Jaggi 2021, arXiv 2012.10333, eq. 11): nobody pulls the centre by
// more than tau,
//
//   v <- v + 1/m sum_j (x_j - v) min(1, tau / |x_j - v|)
//
// taken to its fixed point, so that the result depends neither on where it starts nor on how often it is
// done: v = sum_j w_j x_j / sum_j w_j with w_j = min(1, tau / |x_j - v|), the least of the sum of Huber's
// loss.
//
// tau is `averaging.clip_radius`, or, if that is 0, the least radius around any opinion that holds more than
// half of them: no more than the largest distance between two honest ones.
//
// Breakdown point: one half. With f liars and h > f honest members within R of a point c,
// |v - c| <= max(R + tau, R / sqrt(1 - (f / h)^2)), whatever the liars send.
#include <algorithm>
#include <cmath>
#include <limits>

#include "gossip/averaging/entries.h"
#include "gossip/averaging/robust.h"

namespace Atoll::gossip {

namespace {

constexpr int kIterationsMax = 1000;
constexpr double kSettled = 1e-10;  // of a weight

struct Ball {
    std::size_t centre = 0;  // a member
    double radius = 0;
};

// The least ball around an opinion that holds more than half of them.
Ball ball_of_half(const SquaredDistances& distances) {
    const std::size_t m = distances.members();
    Ball least{.radius = std::numeric_limits<double>::infinity()};
    for (std::size_t i = 0; i < m; ++i) {
        std::vector<double> squares;
        for (std::size_t j = 0; j < m; ++j) squares.push_back(distances(i, j));
        std::ranges::nth_element(squares, squares.begin() + static_cast<std::ptrdiff_t>(m / 2));
        const double radius = std::sqrt(squares[m / 2]);  // itself and m / 2 others
        if (radius < least.radius) least = {i, radius};
    }
    return least;
}

// From the centre of that ball, which at least one honest member is near to, even if tau is 0 because most
// opinions are the same.
std::vector<double> clip(const SquaredDistances& distances, std::size_t start, double tau) {
    const std::size_t m = distances.members();
    std::vector<double> weights(m, 0);
    weights[start] = 1;
    for (int iteration = 0; iteration < kIterationsMax; ++iteration) {
        std::vector<double> next = distances.from_point(weights);
        double sum = 0;
        for (double& value : next) {
            const double away = std::sqrt(value);
            sum += value = away > tau ? tau / away : 1;
        }
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

class CenteredClip final : public Aggregate {
  public:
    explicit CenteredClip(double radius) : radius_(radius) {}

    Status apply(Opinions& opinions) const override {
        ATOLL_ASSIGN(const SquaredDistances distances, SquaredDistances::of(opinions));
        const Ball ball = ball_of_half(distances);
        return opinions.combine(clip(distances, ball.centre, radius_ > 0 ? radius_ : ball.radius));
    }

  private:
    double radius_;
};

}  // namespace

std::unique_ptr<Averaging> make_centered_clip(const AveragingContext& context) {
    return std::make_unique<RobustGossip>(context,
                                          std::make_unique<CenteredClip>(context.options.clip_radius));
}

}  // namespace Atoll::gossip

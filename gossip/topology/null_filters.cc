#include "gossip/topology/null_filters.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace Atoll::gossip {

namespace {

// For up to four pairs of frequencies (k <= 9) one of the first few subsets always has a filter without
// negative weights. For more that is rare, and the search must end.
constexpr std::size_t kPairsSearched = 4;
constexpr std::size_t kSubsetsTried = 64;
constexpr std::size_t kPairsMax = 12;         // the product of many more has lost its zeros to rounding
constexpr std::size_t kExpansionsTried = 16;  // of more pairs
// All shapes of a round are offered only while there are so many in all: choosing among them costs time.
constexpr std::size_t kShapesMax = 1U << 14U;
constexpr double kWeightZero = 1e-12;

using Frequencies = std::vector<std::size_t>;

// The nulling of pairs of frequencies of a prime p, of a cascade that leaves only multiples of n / (p
// spacing).
class Nulling {
  public:
    Nulling(std::size_t n, std::size_t p, std::size_t spacing) : n_(n), spacing_(spacing), cosines_(p) {
        for (std::size_t q = 0; q < p; ++q) {
            const auto folded = static_cast<double>(std::min(q, p - q));
            cosines_[q] = std::cos(2 * std::numbers::pi * folded / static_cast<double>(p));
        }
    }

    // The taps that null +-q for every q of `zeros`, `expansion` times as far apart as they need be: the
    // polynomial with the product of x^2 - 2 cos(2 pi expansion q / p) x + 1. Empty if it has a negative
    // weight. The largest weight is on the member itself.
    [[nodiscard]] CirculantRound taps(const Frequencies& zeros, std::size_t expansion) const {
        std::vector<double> weights{1};
        for (const std::size_t q : zeros) {
            const double middle = -2 * cosines_[expansion * q % cosines_.size()];
            std::vector<double> next(weights.size() + 2, 0);
            for (std::size_t i = 0; i < weights.size(); ++i) {
                next[i] += weights[i];
                next[i + 1] += middle * weights[i];
                next[i + 2] += weights[i];
            }
            weights = std::move(next);
        }
        double sum = 0;
        for (const double weight : weights) {
            if (weight < -kWeightZero) return {};
            sum += weight;
        }
        const std::size_t step = expansion * spacing_ % n_;
        const std::size_t self = largest(weights);
        CirculantRound round;
        for (std::size_t j = 0; j < weights.size(); ++j) {
            if (weights[j] <= kWeightZero) continue;
            round.push_back({(j * step + (n_ - self * step % n_)) % n_, weights[j] / sum});
        }
        return round;
    }

    [[nodiscard]] std::size_t pairs() const { return (cosines_.size() - 1) / 2; }

  private:
    // Ties, up to rounding, go to the smaller index.
    static std::size_t largest(const std::vector<double>& weights) {
        std::size_t best = 0;
        for (std::size_t i = 1; i < weights.size(); ++i) {
            if (weights[i] > weights[best] * (1 + 1e-9)) best = i;
        }
        return best;
    }

    std::size_t n_;
    std::size_t spacing_;
    std::vector<double> cosines_;
};

// The next `subset` (ascending positions within 0..count-1) in lexicographic order; false after the last.
bool next_subset(std::vector<std::size_t>& subset, std::size_t count) {
    for (std::size_t i = subset.size(); i-- > 0;) {
        if (subset[i] + (subset.size() - i) == count) continue;
        ++subset[i];
        for (std::size_t j = i + 1; j < subset.size(); ++j) subset[j] = subset[j - 1] + 1;
        return true;
    }
    return false;
}

// Takes up to `most` frequencies out of `rest` (descending) that one round can null, as many as possible and
// large ones first, and returns the round in all its shapes. One alone always has a shape: an expansion that
// brings the angle into the left half of the circle.
RoundShapes take_round(const Nulling& nulling, Frequencies& rest, std::size_t most) {
    for (std::size_t size = std::min(most, rest.size()); size > 0; --size) {
        std::vector<std::size_t> subset(size);
        for (std::size_t i = 0; i < size; ++i) subset[i] = i;
        const bool few = size <= kPairsSearched;
        const std::size_t expansions = few ? nulling.pairs() : std::min(nulling.pairs(), kExpansionsTried);
        for (std::size_t tried = 0; tried < (few ? kSubsetsTried : 1); ++tried) {
            Frequencies zeros;
            for (const std::size_t position : subset) zeros.push_back(rest[position]);
            RoundShapes shapes;
            const bool all = nulling.pairs() * nulling.pairs() <= kShapesMax;
            for (std::size_t expansion = 1; expansion <= expansions; ++expansion) {
                CirculantRound round = nulling.taps(zeros, expansion);
                if (!round.empty()) shapes.push_back(std::move(round));
                if (!all && !shapes.empty()) break;
            }
            if (!shapes.empty()) {
                for (std::size_t i = size; i-- > 0;)
                    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(subset[i]));
                return shapes;
            }
            if (!next_subset(subset, rest.size())) break;
        }
    }
    return {};
}

}  // namespace

std::vector<RoundShapes> null_filters(std::size_t n, std::size_t k) {
    std::vector<RoundShapes> rounds;
    std::size_t done = 1;  // the frequencies left are the multiples of this
    std::size_t rest = n;
    for (std::size_t q = std::min(k + 1, n); q >= 2; --q) {
        for (; rest % q == 0; rest /= q) {
            done *= q;
            rounds.push_back({equal_taps(n, q, n / done)});
        }
    }
    Frequencies primes;
    for (std::size_t p = k + 2; rest > 1; ++p) {
        if (p * p > rest) p = rest;
        for (; rest % p == 0; rest /= p) primes.push_back(p);
    }
    std::ranges::reverse(primes);
    for (const std::size_t p : primes) {
        done *= p;
        const Nulling nulling(n, p, n / done);
        Frequencies left(nulling.pairs());
        for (std::size_t i = 0; i < left.size(); ++i) left[i] = left.size() - i;
        while (!left.empty()) rounds.push_back(take_round(nulling, left, std::min(k / 2, kPairsMax)));
    }
    return rounds;
}

}  // namespace Atoll::gossip

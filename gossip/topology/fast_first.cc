#include "gossip/topology/fast_first.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <numbers>

namespace Atoll::gossip {

namespace {

using Complex = std::complex<double>;

// Below this share of the first disagreement what is left is rounding, and the order of no consequence.
constexpr double kSettled = 1e-20;
constexpr double kTie = 1e-9;
constexpr double kScoreNoise = 1e-12;  // of a candidate, relative to what is there before it

// In place, radix 2. `turns` holds exp(-2 pi i j / size), j < size / 2.
void transform(std::vector<Complex>& values, const std::vector<Complex>& turns) {
    const std::size_t size = values.size();
    for (std::size_t i = 1, reversed = 0; i < size; ++i) {
        std::size_t bit = size / 2;
        for (; (reversed & bit) != 0; bit /= 2) reversed ^= bit;
        reversed ^= bit;
        if (i < reversed) std::swap(values[i], values[reversed]);
    }
    for (std::size_t half = 1; half < size; half *= 2) {
        const std::size_t stride = size / (2 * half);
        for (std::size_t begin = 0; begin < size; begin += 2 * half) {
            for (std::size_t j = 0; j < half; ++j) {
                const Complex odd = values[begin + half + j] * turns[j * stride];
                values[begin + half + j] = values[begin + j] - odd;
                values[begin + j] += odd;
            }
        }
    }
}

// What a unit at one member becomes at all of them under the rounds chosen so far, less the mean.
class Remainder {
  public:
    explicit Remainder(std::size_t n) : values_(n, -1.0 / static_cast<double>(n)) {
        values_[0] += 1;
        const std::size_t size = std::bit_ceil(2 * n);
        turns_.resize(size / 2);
        for (std::size_t j = 0; j < turns_.size(); ++j)
            turns_[j] = std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(j) / double(size));
        correlate();
    }

    void apply(const CirculantRound& round) {
        const std::size_t n = values_.size();
        std::vector<double> next(n, 0);
        for (const Tap& tap : round) {
            for (std::size_t i = 0; i < n; ++i) {
                const std::size_t from = i + tap.offset;
                next[i] += tap.weight * values_[from < n ? from : from - n];
            }
        }
        values_ = std::move(next);
        correlate();
    }

    // The sum of squares: 1/n of the sum over f > 0 of |H(f)|^2 of the product so far (Parseval).
    [[nodiscard]] double energy() const { return correlation_[0]; }

    [[nodiscard]] double energy_after(const CirculantRound& round) const {
        double sum = 0;
        for (std::size_t i = 0; i < round.size(); ++i) {
            sum += round[i].weight * round[i].weight * correlation_[0];
            for (std::size_t j = 0; j < i; ++j) {
                const std::size_t a = round[i].offset;
                const std::size_t b = round[j].offset;
                sum += 2 * round[i].weight * round[j].weight * correlation_[a < b ? b - a : a - b];
            }
        }
        return sum;
    }

  private:
    // correlation(d) = sum over i of value(i) value(i + d mod n), from a linear correlation padded with
    // zeros.
    void correlate() {
        const std::size_t n = values_.size();
        const std::size_t size = 2 * turns_.size();
        std::vector<Complex> spectrum(values_.begin(), values_.end());
        spectrum.resize(size);
        transform(spectrum, turns_);
        for (Complex& value : spectrum) value = std::norm(value);
        transform(spectrum, turns_);
        correlation_.resize(n);
        for (std::size_t d = 0; d < n; ++d) {
            const double wrapped = d > 0 ? spectrum[n - d].real() : 0;
            correlation_[d] = (spectrum[d].real() + wrapped) / static_cast<double>(size);
        }
    }

    std::vector<double> values_;
    std::vector<double> correlation_;
    std::vector<Complex> turns_;
};

struct Choice {
    std::size_t round = 0;
    std::size_t shape = 0;
};

Choice best_choice(const Remainder& remainder, const std::vector<RoundShapes>& rounds) {
    Choice best;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t round = 0; round < rounds.size(); ++round) {
        for (std::size_t shape = 0; shape < rounds[round].size(); ++shape) {
            const double energy =
                std::max(remainder.energy_after(rounds[round][shape]), kScoreNoise * remainder.energy());
            if (energy < least * (1 - kTie)) {
                least = energy;
                best = {round, shape};
            }
        }
    }
    return best;
}

}  // namespace

CirculantSchedule fast_first(std::size_t n, std::vector<RoundShapes> rounds) {
    CirculantSchedule schedule;
    Remainder remainder(n);
    const double settled = kSettled * remainder.energy();
    while (rounds.size() > 1 && remainder.energy() > settled) {
        const Choice choice = best_choice(remainder, rounds);
        schedule.push_back(std::move(rounds[choice.round][choice.shape]));
        rounds.erase(rounds.begin() + static_cast<std::ptrdiff_t>(choice.round));
        if (rounds.size() > 1) remainder.apply(schedule.back());
    }
    for (RoundShapes& shapes : rounds) schedule.push_back(std::move(shapes.front()));
    return schedule;
}

}  // namespace Atoll::gossip

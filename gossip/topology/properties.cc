#include "gossip/topology/properties.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/rng.h"
#include "gossip/topology/circulant.h"

namespace Atoll::gossip {

namespace {

constexpr std::size_t kMatrixMembersMax = 512;
constexpr std::size_t kPairwiseRoundsMax = 128;  // commutation is tested in pairs
constexpr double kRounding = 1e-12;
constexpr std::size_t kTrialsMax = 100;
constexpr std::size_t kTrialNumbersMax = 16384;

std::size_t rounds_of_period(const Topology& topology, const Roster& roster) {
    return topology.period(roster) > 0 ? topology.period(roster) : topology.rounds(roster);
}

// `width` numbers of every member, side by side; a round mixes them all alike.
class Columns {
  public:
    Columns(std::size_t n, std::size_t width) : n_(n), width_(width), values_(n * width, 0) {}

    double& at(std::size_t member, std::size_t column) { return values_[member * width_ + column]; }
    [[nodiscard]] double at(std::size_t member, std::size_t column) const {
        return values_[member * width_ + column];
    }

    void apply(const Topology& topology, const Roster& roster, std::uint64_t round) {
        std::vector<double> next(values_.size(), 0);
        const auto add = [&](std::size_t to, std::size_t from, double weight) {
            const double* const source = values_.data() + from * width_;
            double* const target = next.data() + to * width_;
            for (std::size_t column = 0; column < width_; ++column) target[column] += weight * source[column];
        };
        if (const auto* circulant = dynamic_cast<const CirculantTopology*>(&topology)) {
            const auto schedule = circulant->schedule(n_);
            if (schedule->empty()) return;
            for (const Tap& tap : (*schedule)[static_cast<std::size_t>(round % schedule->size())]) {
                for (std::size_t i = 0; i < n_; ++i)
                    add(i, i + tap.offset < n_ ? i + tap.offset : i + tap.offset - n_, tap.weight);
            }
        } else {
            for (std::size_t i = 0; i < n_; ++i) {
                const Exchange exchange = topology.exchange(roster, i, round);
                add(i, i, exchange.keep);
                for (const Edge& edge : exchange.send) add(edge.member, i, edge.weight);
            }
        }
        values_ = std::move(next);
    }

    [[nodiscard]] double distance(const Columns& other) const {
        double worst = 0;
        for (std::size_t i = 0; i < values_.size(); ++i)
            worst = std::max(worst, std::abs(values_[i] - other.values_[i]));
        return worst;
    }
    [[nodiscard]] double distance(double value) const {
        double worst = 0;
        for (const double entry : values_) worst = std::max(worst, std::abs(entry - value));
        return worst;
    }

  private:
    std::size_t n_;
    std::size_t width_;
    std::vector<double> values_;
};

// ---- circulant: everything follows from one column and from the response at each frequency ----

double circulant_sigma(const CirculantSchedule& schedule, std::size_t n) {
    std::vector<double> cosine(n);
    std::vector<double> sine(n);
    for (std::size_t j = 0; j < n; ++j) {
        const double angle = 2 * std::numbers::pi * static_cast<double>(j) / static_cast<double>(n);
        cosine[j] = std::cos(angle);
        sine[j] = std::sin(angle);
    }
    double worst = 0;
    for (std::size_t frequency = 1; frequency <= n / 2; ++frequency) {  // the others are their conjugates
        double square = 1;
        for (const CirculantRound& round : schedule) {
            double real = 0;
            double imaginary = 0;
            for (const Tap& tap : round) {
                real += tap.weight * cosine[frequency * tap.offset % n];
                imaginary += tap.weight * sine[frequency * tap.offset % n];
            }
            square *= real * real + imaginary * imaginary;
            if (square <= worst) break;
        }
        worst = std::max(worst, square);
    }
    return std::sqrt(worst);
}

void measure_circulant(const CirculantTopology& topology, std::size_t n, ScheduleProperties& properties) {
    const auto schedule = topology.schedule(n);
    Columns column(n, 1);
    column.at(0, 0) = 1;
    for (std::size_t round = 0; round < schedule->size(); ++round) {
        const auto& taps = (*schedule)[round];
        const auto own = std::ranges::count(taps, std::size_t{0}, &Tap::offset);
        properties.degree_max = std::max(properties.degree_max, taps.size() - static_cast<std::size_t>(own));
        column.apply(topology, n, round);
    }
    properties.product_error = column.distance(1.0 / static_cast<double>(n));
    properties.sigma = circulant_sigma(*schedule, n);
    properties.commutes = true;
}

// ---- the others ----

// The largest singular value of the product less the mean, by power iteration on its square.
double matrix_sigma(const Columns& product, std::size_t n) {
    const double mean = 1.0 / static_cast<double>(n);
    Rng rng = Rng(n).split("sigma");
    std::vector<double> vector(n);
    for (double& value : vector) value = rng.normal();
    double square = 0;
    for (int iteration = 0; iteration < 2000; ++iteration) {
        std::vector<double> image(n, 0);
        std::vector<double> back(n, 0);
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = 0; j < n; ++j) image[i] += (product.at(i, j) - mean) * vector[j];
            for (std::size_t j = 0; j < n; ++j) back[j] += (product.at(i, j) - mean) * image[i];
        }
        double length = 0;
        for (const double value : back) length += value * value;
        length = std::sqrt(length);
        if (length == 0) return 0;
        const bool settled = std::abs(length - square) <= 1e-15 * length;
        square = length;
        for (std::size_t i = 0; i < n; ++i) vector[i] = back[i] / length;
        if (settled) break;
    }
    return std::sqrt(square);
}

// Two rounds commute if they do on a random vector: the chance that others do too is none.
bool commute(const Topology& topology, const Roster& roster, std::size_t rounds) {
    if (rounds < 2) return true;
    Rng rng = Rng(roster.n).split("commute");
    Columns start(roster.n, 1);
    for (std::size_t i = 0; i < roster.n; ++i) start.at(i, 0) = rng.normal();
    std::vector<Columns> after(rounds, start);
    for (std::size_t round = 0; round < rounds; ++round) after[round].apply(topology, roster, round);
    for (std::size_t a = 0; a < rounds; ++a) {
        for (std::size_t b = 0; b < a; ++b) {
            Columns a_then_b = after[a];
            Columns b_then_a = after[b];
            a_then_b.apply(topology, roster, b);
            b_then_a.apply(topology, roster, a);
            if (a_then_b.distance(b_then_a) > kRounding) return false;
        }
    }
    return true;
}

void measure_general(const Topology& topology, const Roster& roster, ScheduleProperties& properties) {
    const std::size_t n = roster.n;
    const std::size_t rounds = rounds_of_period(topology, roster);
    for (std::size_t round = 0; round < rounds; ++round) {
        std::vector<double> row_sums(n, 0);
        for (std::size_t i = 0; i < n; ++i) {
            const Exchange exchange = topology.exchange(roster, i, round);
            properties.degree_max = std::max(properties.degree_max, exchange.send.size());
            row_sums[i] += exchange.keep;
            for (const Edge& edge : exchange.send) row_sums[edge.member] += edge.weight;
        }
        for (const double sum : row_sums) {
            if (std::abs(sum - 1) > kRounding) properties.doubly_stochastic = false;
        }
    }
    if (rounds <= kPairwiseRoundsMax) properties.commutes = commute(topology, roster, rounds);
    if (n > kMatrixMembersMax) return;
    Columns product(n, n);
    for (std::size_t i = 0; i < n; ++i) product.at(i, i) = 1;
    for (std::size_t round = 0; round < rounds; ++round) product.apply(topology, roster, round);
    properties.product_error = product.distance(1.0 / static_cast<double>(n));
    properties.sigma = matrix_sigma(product, n);
}

}  // namespace

ScheduleProperties measure(const Topology& topology, const Roster& roster) {
    ScheduleProperties properties;
    if (const auto* circulant = dynamic_cast<const CirculantTopology*>(&topology)) {
        measure_circulant(*circulant, roster.n, properties);
    } else {
        measure_general(topology, roster, properties);
    }
    return properties;
}

std::size_t consensus_trials(std::size_t n) {
    return std::clamp<std::size_t>(kTrialNumbersMax / std::max<std::size_t>(n, 1), 1, kTrialsMax);
}

std::vector<double> consensus_errors(const Topology& topology, const Roster& roster, std::size_t rounds,
                                     std::uint64_t seed) {
    const std::size_t n = roster.n;
    const std::size_t trials = consensus_trials(n);
    Rng rng = Rng(seed).split("consensus");
    Columns columns(n, trials + 1);  // the last column: push-sum weights
    std::vector<double> means(trials, 0);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t trial = 0; trial < trials; ++trial) {
            columns.at(i, trial) = rng.normal();
            means[trial] += columns.at(i, trial) / static_cast<double>(n);
        }
        columns.at(i, trials) = 1;
    }
    std::vector<double> errors;
    for (std::size_t round = 0; round < rounds; ++round) {
        columns.apply(topology, roster, round);
        double sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t trial = 0; trial < trials; ++trial) {
                const double off = columns.at(i, trial) / columns.at(i, trials) - means[trial];
                sum += off * off;
            }
        }
        errors.push_back(sum / static_cast<double>(n * trials));
    }
    return errors;
}

}  // namespace Atoll::gossip

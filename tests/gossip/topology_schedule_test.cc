// The schedules themselves, against the definitions and the tables of the papers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <numeric>
#include <set>

#include "base/rng.h"
#include "gossip/topology/circulant.h"
#include "gossip/topology/fast_first.h"
#include "gossip/topology/properties.h"
#include "tests/contracts/mixing_matrix.h"

namespace Atoll::gossip {
namespace {

std::unique_ptr<Topology> make(std::string_view name, const TopologyOptions& options = {}) {
    return make_topology(name, options).value();
}

const CirculantSchedule& schedule_of(const Topology& topology, std::size_t n) {
    return *dynamic_cast<const CirculantTopology&>(topology).schedule(n);
}

// RMS of the spectrum of the first `count` rounds, without the mean's frequency: by the definition.
double rms_after(const CirculantSchedule& schedule, std::size_t n, std::size_t count) {
    double sum = 0;
    for (std::size_t f = 1; f < n; ++f) {
        double power = 1;
        for (std::size_t round = 0; round < count; ++round) {
            std::complex<double> response = 0;
            for (const Tap& tap : schedule[round]) {
                const double turns = static_cast<double>(f * tap.offset % n) / static_cast<double>(n);
                response += tap.weight * std::polar(1.0, 2 * std::numbers::pi * turns);
            }
            power *= std::norm(response);
        }
        sum += power;
    }
    return std::sqrt(sum / static_cast<double>(n - 1));
}

TEST(OnePeerExponential, Receives_from_the_member_two_to_the_round_ahead) {
    const auto topology = make("one_peer_exponential");
    for (std::uint64_t round = 0; round < 9; ++round) {
        const std::size_t offset = std::size_t{1} << (round % 3);
        const Exchange exchange = topology->exchange(8, 5, round);
        EXPECT_EQ(exchange.keep, 0.5);
        ASSERT_EQ(exchange.receive.size(), 1U);
        ASSERT_EQ(exchange.send.size(), 1U);
        EXPECT_EQ(exchange.receive[0].member, (5 + offset) % 8);
        EXPECT_EQ(exchange.send[0].member, (5 + 8 - offset) % 8);
        EXPECT_EQ(exchange.send[0].weight, 0.5);
    }
}

TEST(OnePeerExponential, Period_is_the_logarithm_rounded_up_and_exact_for_powers_of_two_only) {
    const auto topology = make("one_peer_exponential");
    const std::size_t periods[] = {0, 0, 1, 2, 2, 3, 3, 3, 3, 4};
    for (std::size_t n = 1; n < std::size(periods); ++n) EXPECT_EQ(topology->rounds(n), periods[n]) << n;
    for (std::size_t n = 1; n <= 130; ++n) EXPECT_EQ(topology->exact(n), (n & (n - 1)) == 0) << n;
}

TEST(Ring, Mixes_a_third_with_each_neighbour_and_half_with_an_only_one) {
    const auto topology = make("ring");
    const Exchange exchange = topology->exchange(5, 0, 0);
    ASSERT_EQ(exchange.send.size(), 2U);
    EXPECT_EQ(exchange.send[0].member, 1U);
    EXPECT_EQ(exchange.send[1].member, 4U);
    EXPECT_EQ(exchange.send[0].weight, 1.0 / 3);
    EXPECT_EQ(topology->exchange(2, 0, 0).send.size(), 1U);
    EXPECT_EQ(topology->exchange(2, 0, 0).keep, 0.5);
    EXPECT_TRUE(topology->exact(3));
    EXPECT_FALSE(topology->exact(4));
}

TEST(Full, Everybody_sends_to_everybody_else) {
    const auto topology = make("full");
    const Exchange exchange = topology->exchange(17, 3, 4);
    EXPECT_EQ(exchange.send.size(), 16U);
    EXPECT_EQ(topology->period(17), 1U);
    EXPECT_TRUE(topology->exact(17));
}

TEST(Torus, Has_four_neighbours_and_fewer_where_a_side_is_short) {
    const auto topology = make("torus");
    const Exchange exchange = topology->exchange(12, 0, 0);  // 3 x 4
    ASSERT_EQ(exchange.send.size(), 4U);
    EXPECT_EQ(exchange.send[0].member, 1U);
    EXPECT_EQ(exchange.send[1].member, 3U);
    EXPECT_EQ(exchange.send[2].member, 4U);
    EXPECT_EQ(exchange.send[3].member, 8U);
    EXPECT_EQ(exchange.send[0].weight, 1.0 / 5);
    EXPECT_NEAR(exchange.keep, 1.0 / 5, 1e-15);
    EXPECT_EQ(topology->exchange(6, 0, 0).send.size(), 3U);  // 2 x 3
    EXPECT_EQ(topology->exchange(4, 0, 0).send.size(), 2U);  // 2 x 2
    const auto ring = make("ring");
    for (const std::size_t n : {2U, 3U, 7U, 13U}) {
        EXPECT_LT(MixingMatrix::of(*topology, n, 0).distance(MixingMatrix::of(*ring, n, 0)), 1e-15) << n;
    }
}

TEST(StaticExponential, Gap_of_its_second_eigenvalue_is_two_over_the_number_of_taps_for_even_n) {
    const auto topology = make("static_exponential");
    for (const auto& [n, offsets] :
         {std::pair<std::size_t, double>{8, 3}, {16, 4}, {30, 5}, {32, 5}, {64, 6}}) {
        EXPECT_EQ(topology->exchange(n, 0, 0).send.size(), static_cast<std::size_t>(offsets));
        EXPECT_NEAR(1 - *measure(*topology, n).sigma, 2 / (offsets + 1), 1e-12) << n;
    }
    EXPECT_NEAR(1 - *measure(*topology, 15).sigma, 0.51, 0.005);
}

TEST(Ring, Gap_of_its_second_eigenvalue_is_the_textbooks) {
    for (std::size_t n = 3; n <= 64; ++n) {
        const double gap = 2.0 / 3 * (1 - std::cos(2 * std::numbers::pi / static_cast<double>(n)));
        EXPECT_NEAR(*measure(*make("ring"), n).sigma, std::max(1 - gap, n % 2 == 0 ? 1.0 / 3 : 0), 1e-12)
            << n;
    }
}

TEST(KPeerExponential, Second_singular_value_is_theorem_two_of_the_paper_and_that_of_the_matrix) {
    for (const bool rounding_up : {false, true}) {
        for (std::int64_t k = 1; k <= 5; ++k) {
            const auto topology = make("k_peer_exponential", {.degree = k, .rounding_up = rounding_up});
            for (std::size_t n = 3; n <= 64; ++n) {
                const std::size_t peers = std::min(static_cast<std::size_t>(k), n - 1);
                double power = 1;
                for (std::size_t round = topology->rounds(n); round > 0; --round)
                    power *= static_cast<double>(peers + 1);
                double theorem = 0;
                for (std::size_t i = 1; i < n; ++i) {
                    const double angle = std::numbers::pi * static_cast<double>(i) / static_cast<double>(n);
                    theorem =
                        std::max(theorem, std::abs(std::sin(angle * power) / (power * std::sin(angle))));
                }
                EXPECT_NEAR(*measure(*topology, n).sigma, theorem, 1e-12) << "n " << n << " k " << k;
            }
        }
    }
    const auto sigma = [](std::size_t n, std::int64_t k, bool rounding_up) {
        return *measure(*make("k_peer_exponential", {.degree = k, .rounding_up = rounding_up}), n).sigma;
    };
    EXPECT_NEAR(sigma(15, 2, false), 0.508, 5e-4);
    EXPECT_NEAR(sigma(15, 2, true), 0.105, 5e-4);
    EXPECT_NEAR(sigma(17, 2, false), 0.602, 5e-4);
    EXPECT_NEAR(sigma(17, 2, true), 0.194, 5e-4);
    EXPECT_NEAR(sigma(31, 4, true), 0.008, 5e-4);
    EXPECT_NEAR(sigma(63, 1, false), 0.627, 5e-4);
}

TEST(KPeerExponential, Rounds_are_counted_in_integers) {
    const auto rounds = [](std::size_t n, std::int64_t k, bool rounding_up) {
        return make("k_peer_exponential", {.degree = k, .rounding_up = rounding_up})->rounds(n);
    };
    EXPECT_EQ(rounds(125, 4, false), 3U);  // log(125) / log(5) < 3 in floating point
    EXPECT_EQ(rounds(125, 4, true), 3U);
    EXPECT_EQ(rounds(243, 2, true), 5U);
    EXPECT_EQ(rounds(69, 2, false), 3U);
    EXPECT_EQ(rounds(69, 2, true), 4U);
    EXPECT_EQ(rounds(6, 63, true), 1U);
}

// ---- null-cascade ----

constexpr std::size_t kTausOf2[] = {1,  1, 2,  2,  2, 3, 3,  2, 3,  5,  3, 6, 4, 3,  4,  8,  3, 9,  4,  4, 6,
                                    11, 4, 4,  7,  3, 5, 14, 4, 15, 5,  6, 9, 5, 4,  18, 10, 7, 5,  20, 5, 21,
                                    7,  4, 12, 23, 5, 6, 5,  9, 8,  26, 4, 7, 6, 10, 15, 29, 5, 30, 16, 5, 6};
constexpr std::size_t kTausOf4[] = {1, 1, 1, 1,  2, 2, 2, 2, 2, 3,  2, 3, 3, 2, 2, 4,  3, 5,  2,  3, 4,
                                    6, 3, 2, 4,  3, 3, 7, 3, 8, 3,  4, 5, 3, 3, 9, 6,  4, 3,  10, 4, 11,
                                    4, 3, 7, 12, 3, 4, 3, 5, 4, 13, 4, 4, 4, 6, 8, 15, 3, 15, 9,  4, 3};

TEST(NullCascade, Takes_the_number_of_rounds_of_the_papers_formula) {
    for (const bool reordered : {false, true}) {
        const auto two = make("null_cascade", {.degree = 2, .reordered = reordered});
        const auto four = make("null_cascade", {.degree = 4, .reordered = reordered});
        for (std::size_t n = 2; n <= 64; ++n) {
            EXPECT_EQ(two->rounds(n), kTausOf2[n - 2]) << n;
            EXPECT_EQ(four->rounds(n), kTausOf4[n - 2]) << n;
        }
    }
    // |small| + sum over large prime factors p of ceil((p - 1) / 2 / floor(k / 2)).
    for (std::int64_t k = 2; k <= 8; ++k) {
        const auto topology = make("null_cascade", {.degree = k, .reordered = false});
        for (std::size_t n = 2; n <= 512; ++n) {
            std::size_t rest = n;
            std::size_t rounds = 0;
            for (auto q = static_cast<std::size_t>(k) + 1; q >= 2; --q) {
                for (; rest % q == 0; rest /= q) ++rounds;
            }
            const std::size_t pairs = static_cast<std::size_t>(k) / 2;
            for (std::size_t p = 2; rest > 1; ++p) {
                for (; rest % p == 0; rest /= p) rounds += ((p - 1) / 2 + pairs - 1) / pairs;
            }
            EXPECT_EQ(topology->rounds(n), rounds) << "n " << n << " k " << k;
        }
    }
    const auto rounds = [](std::size_t n, std::int64_t k) {
        return make("null_cascade", {.degree = k})->rounds(n);
    };
    EXPECT_EQ(rounds(15, 3), 3U);
    EXPECT_EQ(rounds(30, 4), 3U);
    EXPECT_EQ(rounds(31, 4), 8U);
    EXPECT_EQ(rounds(69, 2), 12U);
}

TEST(NullCascade, Stays_exact_for_large_degrees) {
    for (const std::int64_t k : {9, 16, 24, 63}) {
        const auto topology = make("null_cascade", {.degree = k});
        for (std::size_t n = 2; n <= 300; n += n < 70 ? 1 : 7) {
            const ScheduleProperties properties = measure(*topology, n);
            EXPECT_LT(*properties.product_error, 1e-14) << "n " << n << " k " << k;
            EXPECT_LE(properties.degree_max, static_cast<std::size_t>(k));
        }
    }
}

TEST(NullCascade, Worked_example_of_fifteen_members) {
    const auto topology = make("null_cascade", {.degree = 2, .reordered = false});
    const CirculantSchedule& rounds = schedule_of(*topology, 15);
    ASSERT_EQ(rounds.size(), 3U);
    const auto weight = [&](std::size_t round, std::size_t offset) {
        const auto tap = std::ranges::find(rounds[round], offset, &Tap::offset);
        return tap == rounds[round].end() ? 0 : tap->weight;
    };
    for (const std::size_t offset : {0U, 5U, 10U}) EXPECT_EQ(weight(0, offset), 1.0 / 3);
    for (const std::size_t round : {1U, 2U}) {
        EXPECT_NEAR(weight(round, 0), 0.4472, 5e-5);
        EXPECT_NEAR(weight(round, round), 0.2764, 5e-5);
        EXPECT_NEAR(weight(round, 15 - round), 0.2764, 5e-5);
    }
}

TEST(NullCascade, Any_order_and_any_start_give_the_mean) {
    for (const auto& [n, k] :
         {std::pair<std::size_t, std::int64_t>{15, 2}, {17, 2}, {60, 4}, {61, 8}, {91, 3}}) {
        const auto topology = make("null_cascade", {.degree = k});
        const std::size_t count = topology->rounds(n);
        EXPECT_LT(MixingMatrix::of_rounds(*topology, n, 5 * count + 2, count).distance_from_mean(), 1e-12);
        Rng rng(n);
        std::vector<std::size_t> order(count);
        std::iota(order.begin(), order.end(), 0);
        for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
        MixingMatrix all = MixingMatrix::identity(n);
        for (const std::size_t round : order) all = MixingMatrix::of(*topology, n, round) * all;
        EXPECT_LT(all.distance_from_mean(), 1e-12) << "n " << n << " k " << k;
    }
}

TEST(NullCascade, Paper_order_and_greedy_order_leave_what_the_literature_says) {
    std::vector<RoundShapes> paper_shapes = null_filters(17, 2);
    CirculantSchedule paper;
    for (RoundShapes& shapes : paper_shapes) {
        shapes.resize(1);
        paper.push_back(shapes.front());
    }
    const CirculantSchedule greedy = fast_first(17, paper_shapes);
    EXPECT_NEAR(rms_after(paper, 17, 2), 0.47, 0.005);
    EXPECT_NEAR(rms_after(paper, 17, 4), 0.35, 0.005);
    EXPECT_NEAR(rms_after(paper, 17, 6), 0.22, 0.005);
    EXPECT_NEAR(rms_after(greedy, 17, 2), 0.24, 0.005);
    EXPECT_NEAR(rms_after(greedy, 17, 4), 0.016, 0.0005);
    EXPECT_NEAR(rms_after(greedy, 17, 6), 2.5e-4, 0.05e-4);
    EXPECT_LT(rms_after(greedy, 17, 8), 1e-14);
}

TEST(NullCascade, Reordered_with_all_shapes_is_at_least_as_fast) {
    const auto rms = [](std::size_t n, std::int64_t k, std::size_t count) {
        return rms_after(schedule_of(*make("null_cascade", {.degree = k}), n), n, count);
    };
    EXPECT_LT(rms(17, 2, 4), 0.0086);
    EXPECT_LT(rms(17, 2, 6), 7.6e-5);
    EXPECT_NEAR(rms(31, 4, 2), 0.13, 0.005);
    EXPECT_NEAR(rms(31, 4, 4), 1.6e-3, 0.05e-3);
    EXPECT_NEAR(rms(31, 4, 6), 2.0e-5, 0.05e-5);
    EXPECT_NEAR(rms(61, 2, 2), 0.31, 0.005);
    EXPECT_NEAR(rms(61, 2, 4), 0.048, 0.0005);
    EXPECT_NEAR(rms(61, 2, 6), 4.2e-3, 0.05e-3);
    EXPECT_NEAR(rms(61, 2, 8), 2.6e-4, 0.05e-4);
}

// ---- Base-(k+1) ----

TEST(BaseK, Takes_the_papers_number_of_rounds) {
    const auto rounds = [](std::size_t n, std::int64_t k) {
        return make("base_k", {.degree = k})->rounds(n);
    };
    EXPECT_EQ(rounds(15, 2), 4U);
    EXPECT_EQ(rounds(17, 2), 5U);
    EXPECT_EQ(rounds(30, 2), 5U);
    EXPECT_EQ(rounds(15, 3), 4U);
    EXPECT_EQ(rounds(17, 3), 5U);
    EXPECT_EQ(rounds(30, 3), 5U);
    EXPECT_EQ(rounds(30, 4), 3U);
    EXPECT_EQ(rounds(31, 4), 5U);
    const std::size_t most[] = {11, 8, 6, 6};  // for n <= 64
    for (std::int64_t k = 1; k <= 4; ++k) {
        std::size_t largest = 0;
        for (std::size_t n = 2; n <= 64; ++n) largest = std::max(largest, rounds(n, k));
        EXPECT_EQ(largest, most[k - 1]) << k;
    }
}

TEST(BaseK, Rounds_out_of_order_do_not_yield_the_mean) {
    const auto topology = make("base_k", {.degree = 2});
    EXPECT_LT(MixingMatrix::of_rounds(*topology, 15, 0, 4).distance_from_mean(), 1e-15);
    EXPECT_GT(MixingMatrix::of_rounds(*topology, 15, 1, 4).distance_from_mean(), 1e-3);
    EXPECT_FALSE(*measure(*topology, 15).commutes);
    EXPECT_TRUE(*measure(*topology, 27).commutes);
}

TEST(RandomMatch, Pairs_everybody_anew_in_every_round) {
    const auto topology = make("random_match", {.seed = 5});
    std::set<std::size_t> partners;
    std::set<std::size_t> idle;
    for (std::uint64_t round = 0; round < 60; ++round) {
        partners.insert(topology->exchange(8, 3, round).send.at(0).member);
        std::size_t waiting = 0;
        for (std::size_t i = 0; i < 7; ++i) {
            if (!topology->exchange(7, i, round).send.empty()) continue;
            ++waiting;
            idle.insert(i);
        }
        EXPECT_EQ(waiting, 1U);
    }
    EXPECT_EQ(partners.size(), 7U) << "everybody else, sooner or later";
    EXPECT_EQ(idle.size(), 7U);
    const auto other = make("random_match", {.seed = 6});
    EXPECT_NE(MixingMatrix::of(*topology, 30, 0), MixingMatrix::of(*other, 30, 0));
}

TEST(Hypercube, Exchanges_across_one_bit_and_waits_where_there_is_nobody) {
    const auto topology = make("hypercube");
    EXPECT_EQ(topology->exchange(8, 5, 1).send.at(0).member, 7U);
    EXPECT_EQ(topology->exchange(8, 5, 1).keep, 0.5);
    EXPECT_TRUE(topology->exchange(6, 5, 1).send.empty());
    EXPECT_TRUE(*measure(*topology, 8).commutes);
    EXPECT_FALSE(*measure(*topology, 6).commutes);
}

// ---- measured ----

// Niwa et al. 2025, section 5.1: x ~ N(0, 1), the mean of (x - mean)^2 after each round, over 100 trials. Its
// expectation is the squared Frobenius norm of the product less the mean, over n.
TEST(ConsensusErrors, Are_those_of_the_papers_experiment) {
    const auto expect = [](const Topology& topology, std::size_t n, const std::vector<double>& published) {
        SCOPED_TRACE(topology.rules());
        const std::vector<double> errors = consensus_errors(topology, n, published.size(), 1);
        for (std::size_t round = 0; round < published.size(); ++round) {
            const MixingMatrix all = MixingMatrix::of_rounds(topology, n, 0, round + 1);
            double expected = 0;
            for (std::size_t i = 0; i < n; ++i) {
                for (std::size_t j = 0; j < n; ++j)
                    expected += std::pow(all(i, j) - 1.0 / double(n), 2) / double(n);
            }
            if (published[round] == 0) {
                EXPECT_LT(errors[round], 1e-30);
            } else {
                EXPECT_NEAR(published[round] / expected, 1, 0.22) << "round " << round;
                EXPECT_NEAR(errors[round] / expected, 1, 0.25) << "round " << round;
            }
        }
    };
    expect(*make("null_cascade", {.degree = 2, .reordered = false}), 15, {0.25, 0.043, 0});
    expect(*make("null_cascade", {.degree = 2, .reordered = false}), 17,
           {0.32, 0.21, 0.16, 0.12, 0.076, 0.049, 0.020, 0});
    expect(*make("base_k", {.degree = 2}), 15, {0.30, 0.15, 0.11, 0});
    expect(*make("base_k", {.degree = 2}), 17, {0.35, 0.13, 0.034, 0.012, 0});
    expect(*make("ring"), 15, {0.24, 0.15, 0.11, 0.089});
    expect(*make("static_exponential"), 15, {0.13, 0.030, 0.0071});
}

TEST(ConsensusErrors, Gossip_in_single_precision_ends_within_a_millionth_of_the_mean) {
    for (const std::size_t n : {15U, 17U, 61U}) {
        const auto topology = make("null_cascade", {.degree = 2});
        constexpr std::size_t kLength = 1000;
        Rng rng(n);
        std::vector<std::vector<float>> values(n, std::vector<float>(kLength));
        std::vector<double> mean(kLength, 0);
        for (auto& vector : values) {
            for (std::size_t i = 0; i < kLength; ++i) {
                vector[i] = static_cast<float>(rng.normal());
                mean[i] += static_cast<double>(vector[i]) / static_cast<double>(n);
            }
        }
        for (std::uint64_t round = 0; round < topology->rounds(n); ++round) {
            std::vector<std::vector<float>> next(n, std::vector<float>(kLength));
            for (std::size_t m = 0; m < n; ++m) {
                const Exchange exchange = topology->exchange(n, m, round);
                const auto add = [&](const std::vector<float>& source, double weight) {
                    for (std::size_t i = 0; i < kLength; ++i)
                        next[m][i] += static_cast<float>(weight) * source[i];
                };
                add(values[m], exchange.keep);
                for (const Edge& edge : exchange.receive) add(values[edge.member], edge.weight);
            }
            values = std::move(next);
        }
        double worst = 0;
        for (const auto& vector : values) {
            for (std::size_t i = 0; i < kLength; ++i)
                worst = std::max(worst, std::abs(static_cast<double>(vector[i]) - mean[i]));
        }
        EXPECT_LT(worst, 1e-6) << n;
    }
}

TEST(ScheduleProperties, In_the_Fourier_domain_are_those_of_the_matrices) {
    for (const TopologyEntry& entry : topologies()) {
        const auto topology =
            make(entry.name, {.degree = std::clamp<std::int64_t>(
                                  3, entry.degree_min, std::max<std::int64_t>(entry.degree_max, 1))});
        for (const std::size_t n : {1U, 2U, 6U, 15U, 29U}) {
            const ScheduleProperties properties = measure(*topology, n);
            const std::size_t rounds = std::max(topology->rounds(n), topology->period(n));
            const MixingMatrix all = MixingMatrix::of_rounds(*topology, n, 0, rounds);
            EXPECT_NEAR(*properties.product_error, all.distance_from_mean(), 1e-14) << entry.name << " " << n;
            std::size_t degree = 0;
            bool commutes = true;
            for (std::size_t a = 0; a < rounds; ++a) {
                const MixingMatrix first = MixingMatrix::of(*topology, n, a);
                for (std::size_t i = 0; i < n; ++i)
                    degree = std::max(degree, topology->exchange(n, i, a).send.size());
                for (std::size_t b = 0; b < a; ++b) {
                    const MixingMatrix second = MixingMatrix::of(*topology, n, b);
                    commutes = commutes && (first * second).distance(second * first) < 1e-12;
                }
            }
            EXPECT_EQ(properties.degree_max, degree) << entry.name << " " << n;
            EXPECT_EQ(properties.commutes, commutes) << entry.name << " " << n;
            EXPECT_TRUE(properties.doubly_stochastic);
        }
    }
    const ScheduleProperties regions = measure(*make("hierarchical"), Roster::of_sizes({2, 5, 8}));
    EXPECT_LT(*regions.product_error, 1e-15);
    EXPECT_LT(*regions.sigma, 1e-15);
    EXPECT_FALSE(*regions.commutes);
}

TEST(ScheduleProperties, Of_ten_thousand_members_are_measured_where_no_matrix_is_needed) {
    const ScheduleProperties prime = measure(*make("null_cascade", {.degree = 8}), 9973);
    EXPECT_LT(*prime.product_error, 1e-12);
    EXPECT_LT(*prime.sigma, 1e-10);
    EXPECT_EQ(prime.degree_max, 8U);
    const ScheduleProperties base = measure(*make("base_k", {.degree = 2}), 10000);
    EXPECT_FALSE(base.sigma.has_value());
    EXPECT_TRUE(base.doubly_stochastic);
    EXPECT_EQ(base.degree_max, 2U);
}

}  // namespace
}  // namespace Atoll::gossip

// What a schedule does, measured on the schedule itself.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "gossip/topology/topology.h"

namespace Atoll::gossip {

// Of the rounds of one period (of rounds(), if the topology has none). What would need an n x n matrix, and
// is not computed because there are too many members, is absent.
struct ScheduleProperties {
    std::size_t degree_max = 0;           // peers one member sends to in one round, at most
    bool doubly_stochastic = true;        // rows sum to one too
    std::optional<double> product_error;  // largest |entry - 1/n| of the product of all rounds
    std::optional<double> sigma;          // second singular value of that product; 0: the exact mean
    std::optional<bool> commutes;         // whether every two rounds do
};
[[nodiscard]] ScheduleProperties measure(const Topology& topology, const Roster& roster);

// (1/n) sum of (x_i - mean)^2 after each of the first `rounds` rounds, x_i = push-sum value over weight,
// started from independent N(0, 1) numbers and averaged over consensus_trials(n) vectors.
[[nodiscard]] std::vector<double> consensus_errors(const Topology& topology, const Roster& roster,
                                                   std::size_t rounds, std::uint64_t seed);
// 100, fewer for more than 163 members: large groups average out by themselves.
[[nodiscard]] std::size_t consensus_trials(std::size_t n);

}  // namespace Atoll::gossip

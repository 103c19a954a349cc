// The plain, slow meaning of a topology: dense matrices put together from what the members send.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "gossip/topology/topology.h"

namespace Atoll::gossip {

// W with x_i <- sum_j W(i, j) x_j.
class MixingMatrix {
  public:
    explicit MixingMatrix(std::size_t n) : n_(n), entries_(n * n, 0) {}

    static MixingMatrix identity(std::size_t n) {
        MixingMatrix matrix(n);
        for (std::size_t i = 0; i < n; ++i) matrix(i, i) = 1;
        return matrix;
    }
    static MixingMatrix of(const Topology& topology, const Roster& roster, std::uint64_t round) {
        MixingMatrix matrix(roster.n);
        for (std::size_t j = 0; j < roster.n; ++j) {
            const Exchange exchange = topology.exchange(roster, j, round);
            matrix(j, j) += exchange.keep;
            for (const Edge& edge : exchange.send) matrix(edge.member, j) += edge.weight;
        }
        return matrix;
    }
    // What `count` rounds from `first` on do together.
    static MixingMatrix of_rounds(const Topology& topology, const Roster& roster, std::uint64_t first,
                                  std::size_t count) {
        MixingMatrix all = identity(roster.n);
        for (std::size_t round = 0; round < count; ++round) all = of(topology, roster, first + round) * all;
        return all;
    }

    double& operator()(std::size_t i, std::size_t j) { return entries_[i * n_ + j]; }
    double operator()(std::size_t i, std::size_t j) const { return entries_[i * n_ + j]; }
    bool operator==(const MixingMatrix&) const = default;

    friend MixingMatrix operator*(const MixingMatrix& a, const MixingMatrix& b) {
        MixingMatrix c(a.n_);
        for (std::size_t i = 0; i < a.n_; ++i) {
            for (std::size_t k = 0; k < a.n_; ++k) {
                const double factor = a(i, k);
                for (std::size_t j = 0; factor != 0 && j < a.n_; ++j) c(i, j) += factor * b(k, j);
            }
        }
        return c;
    }

    [[nodiscard]] double distance(const MixingMatrix& other) const {
        double worst = 0;
        for (std::size_t i = 0; i < entries_.size(); ++i)
            worst = std::max(worst, std::abs(entries_[i] - other.entries_[i]));
        return worst;
    }
    [[nodiscard]] double distance_from_mean() const {
        double worst = 0;
        for (const double entry : entries_)
            worst = std::max(worst, std::abs(entry - 1.0 / static_cast<double>(n_)));
        return worst;
    }
    [[nodiscard]] double row_sum(std::size_t i) const {
        double sum = 0;
        for (std::size_t j = 0; j < n_; ++j) sum += (*this)(i, j);
        return sum;
    }

  private:
    std::size_t n_;
    std::vector<double> entries_;
};

}  // namespace Atoll::gossip

// A federated run in double precision without a network: the mathematics of federation/federated on clients
// whose losses are quadratics, so that the optimum is known and errors down to 1e-16 can be told apart.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "federation/federated/participation.h"

namespace Atoll::sims {

// Row-major, square.
using Matrix = std::vector<std::vector<double>>;
using Vector = std::vector<double>;

// x with a x = b, by elimination with pivots. Precondition: a is regular.
[[nodiscard]] Vector solve(Matrix a, Vector b);

// f_i(x) = 1/2 (x - b_i)^T H_i (x - b_i)
struct QuadraticClient {
    Matrix hessian;
    Vector minimum;
    [[nodiscard]] Vector gradient(std::span<const double> x) const;
};

// Hessians with eigenvalues log-uniform in [0.1, 1] in random directions, minima about 10 apart.
[[nodiscard]] std::vector<QuadraticClient> quadratic_clients(std::size_t clients, std::size_t dimensions,
                                                             std::uint64_t seed);
// Of the mean of the losses.
[[nodiscard]] Vector optimum(const std::vector<QuadraticClient>& clients);
[[nodiscard]] double relative_error(std::span<const double> x, std::span<const double> best);

struct FederationOptions {
    std::string method = "focus";
    std::string law = "full";
    federation::ParticipationOptions participation;
    double eta = 0.01;  // of the local steps; focus: of the server's too, on the sum of the gradients
    std::size_t local_steps = 3;
    std::size_t rounds = 1000;
    double noise = 0;  // standard deviation of each component of a gradient
    std::uint64_t seed = 1;
    double proximal = 0.01;
    double server_learning_rate = 0;  // 0: the method's own
    // What becomes of a vector on its way to the server; empty: nothing.
    std::function<void(std::span<double>)> compress;
    // A client before this round does not exist; empty: all are there from the start.
    std::vector<std::uint64_t> joins;
    // Whether a push of (round, client) is lost on its way; empty: none is.
    std::function<bool(std::uint64_t round, std::size_t client)> lost;
    // After each round: the model, the server's sum (empty if it has none), the clients' tracked vectors.
    std::function<void(std::uint64_t round, std::span<const double> model, std::span<const double> sum,
                       const std::vector<Vector>& tracked)>
        observe;
};

// The relative error of the model after each round.
[[nodiscard]] std::vector<double> run_federation(const std::vector<QuadraticClient>& clients,
                                                 const FederationOptions& options);

// Rounds until the error is below `bound` for good; the number of rounds if it never is.
[[nodiscard]] std::size_t rounds_to(const std::vector<double>& errors, double bound);
// Fitted factor of the error a round, between 1e-2 and 1e-12; NaN if it does not get there.
[[nodiscard]] double factor_per_round(const std::vector<double>& errors);

}  // namespace Atoll::sims

// atoll-participation: how close federated algorithms come to the optimum under each participation law, in
// double precision on quadratics (docs/experiments.md).
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>

#include "sims/quadratic_federation.h"

namespace {

using namespace Atoll;

struct Row {
    const char* law;
    double eta;
    federation::ParticipationOptions participation;
};

double last_of(const std::vector<sims::QuadraticClient>& clients, const Row& row, const char* method,
               std::size_t rounds) {
    sims::FederationOptions options{.method = method, .law = row.law, .participation = row.participation};
    options.eta = row.eta;
    options.rounds = rounds;
    return sims::run_federation(clients, options).back();
}

}  // namespace

int main(int count, char** arguments) {
    const std::uint64_t seed = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 1;
    constexpr std::size_t kClients = 16;
    constexpr std::size_t kDimensions = 20;
    const auto clients = sims::quadratic_clients(kClients, kDimensions, seed);
    const Row rows[] = {
        {"full", 0.07, {.seed = seed}},
        {"bernoulli", 0.035, {.seed = seed, .low = 0.05, .high = 0.9}},
        {"markov", 0.035, {.seed = seed, .low = 0.05, .high = 0.5, .stay = 0.7}},
        {"cyclic", 0.025, {.seed = seed, .count = 4}},
        {"uniform", 0.0125, {.seed = seed, .count = 4}},
        {"categorical", 0.0125, {.seed = seed, .count = 4, .low = 0.05, .high = 0.9}},
    };
    fmt::print("{} clients, {} dimensions, 3 local steps, seed {}\n\n", kClients, kDimensions, seed);
    fmt::print(
        "| participation | eta | FOCUS to 1e-12, rounds | factor a round | FOCUS after 4000 | FedAvg | "
        "FedAU | MIFA | SCAFFOLD |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (const Row& row : rows) {
        sims::FederationOptions options{.law = row.law, .participation = row.participation};
        options.eta = row.eta;
        options.rounds = 4000;
        const auto focus = sims::run_federation(clients, options);
        fmt::print("| {} | {} | {} | {:.3f} | {:.1e} |", row.law, row.eta, sims::rounds_to(focus, 1e-12),
                   sims::factor_per_round(focus), focus.back());
        for (const char* method : {"fedavg", "fedau", "mifa", "scaffold"})
            fmt::print(" {:.1e} |", last_of(clients, row, method, 4000));
        fmt::print("\n");
    }
    return 0;
}

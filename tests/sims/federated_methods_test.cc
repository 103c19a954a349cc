// The mathematics of the federated algorithms in double precision: the code that the network runs in float,
// against closed forms and against the papers' other ways to write them.
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "federation/federated/core.h"
#include "federation/federated/method.h"
#include "sims/quadratic_federation.h"

namespace Atoll::sims {
namespace {

constexpr std::size_t kClients = 16;
constexpr std::size_t kDimensions = 20;

const std::vector<QuadraticClient>& clients() {
    static const auto made = quadratic_clients(kClients, kDimensions, 3);
    return made;
}

struct Law {
    const char* name;
    double eta;
    federation::ParticipationOptions options;
};

const Law kLaws[] = {
    {"full", 0.07, {}},
    {"bernoulli", 0.035, {.low = 0.05, .high = 0.9}},
    {"markov", 0.035, {.low = 0.05, .high = 0.5, .stay = 0.7}},
    {"cyclic", 0.025, {.count = 4}},
    {"uniform", 0.0125, {.count = 4}},
    {"categorical", 0.0125, {.count = 4, .low = 0.05, .high = 0.9}},
};

FederationOptions under(const Law& law, const char* method, std::size_t rounds) {
    FederationOptions options;
    options.method = method;
    options.law = law.name;
    options.participation = law.options;
    options.eta = law.eta;
    options.rounds = rounds;
    return options;
}

TEST(FederatedMethods, Focus_is_exact_within_a_thousand_rounds_under_every_law_where_fedavg_is_not) {
    for (const Law& law : kLaws) {
        const auto focus = run_federation(clients(), under(law, "focus", 1000));
        EXPECT_LT(rounds_to(focus, 1e-12), 1000U) << law.name << " ends at " << focus.back();
        EXPECT_LT(factor_per_round(focus), 0.98) << law.name;
        EXPECT_GT(run_federation(clients(), under(law, "fedavg", 1000)).back(), 1e-2) << law.name;
    }
}

// sum_i S_i H_i (x - b_i) = 0 with S_i = sum of (I - eta (H_i + mu I))^k, k < H: where the mean of what H
// local steps change is nothing.
Vector fixed_point(double eta, std::size_t steps, double mu) {
    Matrix a(kDimensions, Vector(kDimensions));
    Vector b(kDimensions);
    for (const QuadraticClient& client : clients()) {
        // Column j of S_i H_i, by H steps of u <- u - eta ((H_i + mu) u + h) from u = 0 (then u = -eta S_i
        // h).
        for (std::size_t j = 0; j < kDimensions; ++j) {
            Vector u(kDimensions);
            for (std::size_t t = 0; t < steps; ++t) {
                Vector next = u;
                for (std::size_t i = 0; i < kDimensions; ++i) {
                    double pull = mu * u[i] + client.hessian[i][j];
                    for (std::size_t k = 0; k < kDimensions; ++k) pull += client.hessian[i][k] * u[k];
                    next[i] -= eta * pull;
                }
                u = next;
            }
            for (std::size_t i = 0; i < kDimensions; ++i) {
                a[i][j] -= u[i];
                b[i] -= u[i] * client.minimum[j];
            }
        }
    }
    return solve(a, b);
}

Vector last_model(const FederationOptions& options) {
    Vector last;
    FederationOptions watched = options;
    watched.observe = [&](std::uint64_t, std::span<const double> model, std::span<const double>,
                          const std::vector<Vector>&) { last.assign(model.begin(), model.end()); };
    (void)run_federation(clients(), watched);
    return last;
}

TEST(FederatedMethods, Fedavg_and_its_relatives_end_where_local_steps_cancel) {
    constexpr double kEta = 0.1;
    constexpr std::size_t kSteps = 3;
    const Law full{"full", kEta, {}};
    const Vector expected = fixed_point(kEta, kSteps, 0);
    EXPECT_GT(relative_error(expected, optimum(clients())), 1e-3) << "which is not the optimum";
    for (const char* method : {"fedavg", "fedavgm", "fedau", "mifa"}) {
        FederationOptions options = under(full, method, 1500);
        if (method == std::string("fedavgm")) options.server_learning_rate = 0.1;
        EXPECT_LT(relative_error(last_model(options), expected), 1e-10) << method;
    }
    FederationOptions prox = under(full, "fedprox", 1500);
    prox.proximal = 0.5;
    EXPECT_LT(relative_error(last_model(prox), fixed_point(kEta, kSteps, 0.5)), 1e-10);
    EXPECT_GT(relative_error(last_model(prox), expected), 1e-6);
    // MIFA ends there whoever comes: only the latest updates count.
    for (const Law& law :
         {Law{"cyclic", kEta, {.count = 4}}, Law{"bernoulli", kEta, {.low = 0.2, .high = 0.9}}}) {
        EXPECT_LT(relative_error(last_model(under(law, "mifa", 4000)), expected), 1e-10) << law.name;
    }
}

TEST(FederatedMethods, Scaffold_ends_in_the_optimum_and_its_variates_in_the_clients_gradients_there) {
    const Vector best = optimum(clients());
    for (const Law& law : {Law{"full", 0.1, {}}, Law{"uniform", 0.05, {.count = 4}}}) {
        FederationOptions options = under(law, "scaffold", 3000);
        std::vector<Vector> variates;
        options.observe = [&](std::uint64_t, std::span<const double>, std::span<const double>,
                              const std::vector<Vector>& tracked) { variates = tracked; };
        EXPECT_LT(run_federation(clients(), options).back(), 1e-11) << law.name;
        for (std::size_t i = 0; i < kClients; ++i)
            EXPECT_LT(relative_error(variates[i], clients()[i].gradient(best)), 1e-9) << law.name;
    }
}

// With every client absent for exactly three rounds of four, FedAU's weights are 4: the cycle of four blocks
// is an affine map, whose fixed point is solved for.
TEST(FederatedMethods, Fedau_under_cyclic_participation_ends_in_the_fixed_point_of_its_cycle) {
    constexpr double kEta = 0.05;
    const Law cyclic{"cyclic", kEta, {.count = 4}};
    const auto cycle = [&](Vector x) {
        for (std::size_t block = 0; block < 4; ++block) {
            Vector change(kDimensions);
            for (std::size_t c = 4 * block; c < 4 * block + 4; ++c) {
                Vector local = x;
                for (int t = 0; t < 3; ++t) {
                    const Vector g = clients()[c].gradient(local);
                    for (std::size_t j = 0; j < kDimensions; ++j) local[j] -= kEta * g[j];
                }
                for (std::size_t j = 0; j < kDimensions; ++j) change[j] += 4.0 / kClients * (x[j] - local[j]);
            }
            for (std::size_t j = 0; j < kDimensions; ++j) x[j] -= change[j];
        }
        return x;
    };
    // x = A x + c: columns of A from unit vectors.
    const Vector c = cycle(Vector(kDimensions));
    Matrix a(kDimensions, Vector(kDimensions));
    for (std::size_t j = 0; j < kDimensions; ++j) {
        Vector unit(kDimensions);
        unit[j] = 1;
        const Vector image = cycle(unit);
        for (std::size_t i = 0; i < kDimensions; ++i) a[i][j] = (i == j ? 1.0 : 0.0) - (image[i] - c[i]);
    }
    // Every client's first interval is shorter, so that the mean comes to 4 as 1 / rounds, and the model with
    // it.
    const Vector expected = solve(a, c);
    const double early = relative_error(last_model(under(cyclic, "fedau", 4000)), expected);
    const double late = relative_error(last_model(under(cyclic, "fedau", 16000)), expected);
    EXPECT_LT(early, 1e-3);
    EXPECT_NEAR(late / early, 0.25, 0.02);
}

TEST(FederatedMethods, Attendance_estimates_how_rarely_a_client_comes) {
    federation::Attendance rare;
    Rng rng(4);
    for (int round = 0; round < 20000; ++round) federation::attend(rare, rng.uniform() < 0.2, 1000);
    EXPECT_NEAR(rare.weight, 5, 0.2);
    federation::Attendance cut;
    for (int round = 0; round < 100; ++round) federation::attend(cut, false, 10);
    EXPECT_EQ(cut.weight, 10);
    federation::Attendance always;
    for (int round = 0; round < 100; ++round) federation::attend(always, true, 10);
    EXPECT_EQ(always.weight, 1);
}

// One server step against the formulas of Reddi et al. 2021, written out.
TEST(FederatedMethods, Fedadam_and_fedyogi_step_as_written) {
    federation::MethodOptions options{.parameters = 2, .server_learning_rate = 0.1};
    options.server_momentum = 0.9;
    options.server_beta2 = 0.99;
    options.server_epsilon = 1e-3;
    const double update[2][2] = {{0.5, -0.002}, {0.1, 0.004}};
    for (const char* name : {"fedadam", "fedyogi"}) {
        const auto method = federation::find_method(name)->make_double(options);
        std::vector<double> x = {1, 2};
        double m[2] = {0, 0};
        double v[2] = {1e-6, 1e-6};
        double expected[2] = {1, 2};
        for (const auto& delta : update) {
            federation::Aggregate<double> aggregate{.update = delta, .participants = 1, .clients = 1};
            method->server_step(x, aggregate);
            for (int j = 0; j < 2; ++j) {
                const double squared = delta[j] * delta[j];
                m[j] = 0.9 * m[j] + 0.1 * delta[j];
                if (name == std::string("fedadam")) {
                    v[j] = 0.99 * v[j] + 0.01 * squared;
                } else {
                    v[j] -= 0.01 * squared * ((v[j] > squared) - (v[j] < squared));
                }
                expected[j] -= 0.1 * m[j] / (std::sqrt(v[j]) + 1e-3);
                EXPECT_NEAR(x[static_cast<std::size_t>(j)], expected[j], 1e-14) << name;
            }
        }
        const std::vector<double> before = x;
        method->server_step(x, {.participants = 0});
        EXPECT_EQ(x, before) << "nobody came";
    }
}

TEST(FederatedMethods, Focus_with_everybody_and_one_local_step_is_gradient_descent_on_the_sum) {
    FederationOptions options = under(kLaws[0], "focus", 40);
    options.local_steps = 1;
    Vector x(kDimensions);
    double worst = 0;
    options.observe = [&](std::uint64_t, std::span<const double> model, std::span<const double>,
                          const std::vector<Vector>&) {
        Vector sum(kDimensions);
        for (const QuadraticClient& client : clients()) {
            const Vector g = client.gradient(x);
            for (std::size_t j = 0; j < kDimensions; ++j) sum[j] += g[j];
        }
        for (std::size_t j = 0; j < kDimensions; ++j) {
            x[j] -= options.eta * sum[j];
            worst = std::max(worst, std::abs(x[j] - model[j]));
        }
    };
    (void)run_federation(clients(), options);
    EXPECT_LT(worst, 1e-12);
}

// The paper's form for proofs: X <- R (X - eta D Y), Y <- C (Y + grad(X new) - grad(X old)) over the server
// (row 0) and all clients, with R the pull of the participants and C its transpose, the push.
class MatrixForm {
  public:
    explicit MatrixForm(double eta)
        : eta_(eta),
          x_(kClients + 1, Vector(kDimensions)),
          y_(kClients + 1, Vector(kDimensions)),
          gradients_(kClients + 1, Vector(kDimensions)) {}
    void round(const std::vector<std::size_t>& participants, std::size_t local_steps) {
        for (const std::size_t i : participants) x_[i + 1] = x_[0];  // R: pull
        for (std::size_t t = 0; t < local_steps; ++t) {
            for (const std::size_t i : participants) {
                if (t > 0) descend(i + 1);
                const Vector g = clients()[i].gradient(x_[i + 1]);
                for (std::size_t j = 0; j < kDimensions; ++j) y_[i + 1][j] += g[j] - gradients_[i + 1][j];
                gradients_[i + 1] = g;
            }
        }
        for (const std::size_t i : participants) {  // C: push
            for (std::size_t j = 0; j < kDimensions; ++j) y_[0][j] += y_[i + 1][j];
            y_[i + 1].assign(kDimensions, 0);
        }
        descend(0);
    }
    [[nodiscard]] const Vector& model() const { return x_[0]; }
    // 1^T Y - 1^T grad: nothing, if gradients are tracked.
    [[nodiscard]] double tracking_error() const {
        double worst = 0;
        for (std::size_t j = 0; j < kDimensions; ++j) {
            double sum = 0;
            for (std::size_t i = 0; i <= kClients; ++i) sum += y_[i][j] - gradients_[i][j];
            worst = std::max(worst, std::abs(sum));
        }
        return worst;
    }

  private:
    void descend(std::size_t row) {
        for (std::size_t j = 0; j < kDimensions; ++j) x_[row][j] -= eta_ * y_[row][j];
    }
    double eta_;
    std::vector<Vector> x_, y_, gradients_;
};

TEST(FederatedMethods, Focus_is_its_matrix_form_and_tracks_every_gradient) {
    for (const Law& law : kLaws) {
        const FederationOptions base = under(law, "focus", 200);
        const auto participation = federation::make_participation(law.name, law.options).value();
        MatrixForm matrix(law.eta);
        FederationOptions options = base;
        double apart = 0;
        double untracked = 0;
        options.observe = [&](std::uint64_t round, std::span<const double> model, std::span<const double> sum,
                              const std::vector<Vector>& tracked) {
            matrix.round(participation->participants(round, kClients), options.local_steps);
            apart = std::max(apart, relative_error(model, matrix.model()));
            for (std::size_t j = 0; j < kDimensions; ++j) {
                double total = 0;
                for (const Vector& own : tracked) total += own[j];
                untracked = std::max(untracked, std::abs(sum[j] - total));
            }
        };
        (void)run_federation(clients(), options);
        EXPECT_LT(apart, 1e-12) << law.name;
        EXPECT_LT(untracked, 1e-12) << law.name;
        EXPECT_LT(matrix.tracking_error(), 1e-12) << law.name;
    }
}

TEST(FederatedMethods, A_client_that_joins_late_moves_the_optimum_to_its_own) {
    FederationOptions options = under(kLaws[0], "focus", 900);
    options.joins.assign(kClients, 0);
    options.joins[5] = 500;
    const auto errors = run_federation(clients(), options);
    EXPECT_GT(errors[499], 1e-3) << "the optimum of the others";
    EXPECT_LT(errors.back(), 1e-12);
}

TEST(FederatedMethods, Lost_pushes_do_no_harm_when_the_client_commits_on_acknowledgement) {
    FederationOptions options = under(kLaws[1], "focus", 1500);
    options.lost = [](std::uint64_t round, std::size_t client) {
        return Rng(9).split("lost", round).split("client", client).uniform() < 0.2;
    };
    EXPECT_LT(run_federation(clients(), options).back(), 1e-12);
}

TEST(FederatedMethods, Compressed_changes_reach_the_same_precision) {
    const auto top_fraction = [](double fraction) {
        return [fraction](std::span<double> values) {
            Vector sizes;
            for (const double value : values) sizes.push_back(-std::abs(value));
            std::ranges::sort(sizes);
            const auto kept = static_cast<std::size_t>(fraction * static_cast<double>(values.size()));
            for (double& value : values) {
                if (-std::abs(value) > sizes[kept - 1]) value = 0;
            }
        };
    };
    const auto scaled_sign = [](std::span<double> values) {
        double mean = 0;
        for (const double value : values) mean += std::abs(value) / static_cast<double>(values.size());
        for (double& value : values) value = value < 0 ? -mean : mean;
    };
    for (const auto& compress : {std::function<void(std::span<double>)>(top_fraction(0.25)),
                                 std::function<void(std::span<double>)>(scaled_sign)}) {
        for (const Law& law : {kLaws[0], kLaws[1]}) {
            FederationOptions options = under(law, "focus", 6000);
            options.eta = 0.02;
            options.local_steps = 1;
            options.compress = compress;
            EXPECT_LT(run_federation(clients(), options).back(), 1e-12) << law.name;
        }
    }
}

// The noise floor of SG-FOCUS falls with the rate.
TEST(FederatedMethods, With_noise_a_smaller_rate_ends_nearer) {
    const auto floor = [](double eta, std::size_t rounds) {
        FederationOptions options = under(kLaws[1], "focus", rounds);
        options.eta = eta;
        options.noise = 1;
        const auto errors = run_federation(clients(), options);
        double sum = 0;
        for (std::size_t r = rounds / 2; r < rounds; ++r) sum += errors[r] * errors[r];
        return std::sqrt(sum / static_cast<double>(rounds / 2));
    };
    const double coarse = floor(0.035, 4000);
    const double fine = floor(0.00875, 8000);
    EXPECT_LT(fine, 0.75 * coarse) << coarse;
}

}  // namespace
}  // namespace Atoll::sims

#include "sims/quadratic_federation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "base/check.h"
#include "base/rng.h"
#include "federation/federated/core.h"

namespace Atoll::sims {

namespace {

double dot(std::span<const double> a, std::span<const double> b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

// Orthonormal rows (Gram and Schmidt, on normal vectors).
Matrix random_rotation(std::size_t size, Rng& rng) {
    Matrix rows(size, Vector(size));
    for (std::size_t i = 0; i < size; ++i) {
        for (double& value : rows[i]) value = rng.normal();
        for (std::size_t j = 0; j < i; ++j) {
            const double overlap = dot(rows[i], rows[j]);
            for (std::size_t k = 0; k < size; ++k) rows[i][k] -= overlap * rows[j][k];
        }
        const double length = std::sqrt(dot(rows[i], rows[i]));
        for (double& value : rows[i]) value /= length;
    }
    return rows;
}

class Replica : public federation::LocalReplica<double> {
  public:
    Replica(const QuadraticClient& client, double rate, double noise, Rng rng)
        : client_(client), rate_(rate), noise_(noise), rng_(rng), x_(client.minimum.size()) {}
    std::span<double> parameters() override { return x_; }
    Result<federation::StepResult> step() override {
        Vector g(x_.size());
        ATOLL_ASSIGN(const federation::StepResult result, gradient(g));
        for (std::size_t i = 0; i < x_.size(); ++i) x_[i] -= rate_ * g[i];
        return result;
    }
    Result<federation::StepResult> gradient(std::span<double> gradient) override {
        const Vector g = client_.gradient(x_);
        for (std::size_t i = 0; i < g.size(); ++i)
            gradient[i] = g[i] + (noise_ > 0 ? noise_ * rng_.normal() : 0);
        return federation::StepResult{.tokens = 1, .learning_rate = rate_};
    }
    double rate() const override { return rate_; }

  private:
    const QuadraticClient& client_;
    double rate_;
    double noise_;
    Rng rng_;
    Vector x_;
};

}  // namespace

Vector solve(Matrix a, Vector b) {
    const std::size_t n = b.size();
    for (std::size_t i = 0; i < n; ++i) {
        std::size_t pivot = i;
        for (std::size_t j = i; j < n; ++j) {
            if (std::abs(a[j][i]) > std::abs(a[pivot][i])) pivot = j;
        }
        std::swap(a[i], a[pivot]);
        std::swap(b[i], b[pivot]);
        for (std::size_t j = i + 1; j < n; ++j) {
            const double factor = a[j][i] / a[i][i];
            for (std::size_t k = i; k < n; ++k) a[j][k] -= factor * a[i][k];
            b[j] -= factor * b[i];
        }
    }
    for (std::size_t i = n; i-- > 0;) {
        for (std::size_t k = i + 1; k < n; ++k) b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    return b;
}

Vector QuadraticClient::gradient(std::span<const double> x) const {
    Vector away(x.begin(), x.end());
    for (std::size_t i = 0; i < away.size(); ++i) away[i] -= minimum[i];
    Vector g;
    for (const Vector& row : hessian) g.push_back(dot(row, away));
    return g;
}

std::vector<QuadraticClient> quadratic_clients(std::size_t clients, std::size_t dimensions,
                                               std::uint64_t seed) {
    constexpr double kApart = 10;
    std::vector<QuadraticClient> made;
    for (std::size_t c = 0; c < clients; ++c) {
        Rng rng = Rng(seed).split("quadratic client", c);
        const Matrix rotation = random_rotation(dimensions, rng);
        QuadraticClient client{Matrix(dimensions, Vector(dimensions)), Vector(dimensions)};
        for (std::size_t e = 0; e < dimensions; ++e) {
            const double eigenvalue = std::pow(10, rng.uniform() - 1);
            for (std::size_t i = 0; i < dimensions; ++i) {
                for (std::size_t j = 0; j < dimensions; ++j)
                    client.hessian[i][j] += eigenvalue * rotation[e][i] * rotation[e][j];
            }
        }
        for (double& value : client.minimum)
            value = kApart / std::sqrt(2 * static_cast<double>(dimensions)) * rng.normal();
        made.push_back(std::move(client));
    }
    return made;
}

Vector optimum(const std::vector<QuadraticClient>& clients) {
    const std::size_t n = clients.front().minimum.size();
    Matrix a(n, Vector(n));
    Vector b(n);
    const Vector zero(n);
    for (const QuadraticClient& client : clients) {
        const Vector g = client.gradient(zero);
        for (std::size_t i = 0; i < n; ++i) {
            b[i] -= g[i];
            for (std::size_t j = 0; j < n; ++j) a[i][j] += client.hessian[i][j];
        }
    }
    return solve(std::move(a), std::move(b));
}

double relative_error(std::span<const double> x, std::span<const double> best) {
    double error = 0;
    for (std::size_t i = 0; i < x.size(); ++i) error += (x[i] - best[i]) * (x[i] - best[i]);
    return std::sqrt(error / dot(best, best));
}

std::vector<double> run_federation(const std::vector<QuadraticClient>& clients,
                                   const FederationOptions& options) {
    using federation::Attendance;
    using Core = federation::ClientCore<double>;
    const std::size_t size = clients.front().minimum.size();
    const federation::MethodEntry* const entry = federation::find_method(options.method);
    ATOLL_CHECK(entry != nullptr);
    const double server_rate =
        options.server_learning_rate > 0 ? options.server_learning_rate : entry->server_learning_rate;
    const auto method = entry->make_double({.parameters = size,
                                            .local_steps = options.local_steps,
                                            .server_learning_rate = server_rate,
                                            .proximal = options.proximal});
    const auto law = federation::make_participation(options.law, options.participation);
    ATOLL_CHECK(law.ok());
    const Vector best = optimum(clients);

    federation::ServerCore<double> server(*method, size);
    std::vector<std::unique_ptr<Core>> cores;
    for (std::size_t i = 0; i < clients.size(); ++i)
        cores.push_back(std::make_unique<Core>(*method, size, static_cast<bool>(options.compress)));
    std::vector<Attendance> attendance(clients.size());
    std::vector<double> errors;
    for (std::uint64_t round = 0; round < options.rounds; ++round) {
        const auto exists = [&](std::size_t i) { return options.joins.empty() || options.joins[i] <= round; };
        std::size_t known = 0;
        for (std::size_t i = 0; i < clients.size(); ++i) known += exists(i) ? 1 : 0;
        // The method divides by the number of clients what the paper does not.
        const double rate =
            options.method == "focus" ? options.eta * static_cast<double>(known) : options.eta;
        std::vector<std::size_t> chosen = (*law)->participants(round, clients.size());
        std::erase_if(chosen, [&](std::size_t i) { return !exists(i); });
        std::vector<std::pair<std::size_t, std::vector<Core::Outgoing>>> pushes;
        const Vector model(server.model().begin(), server.model().end());
        const std::span<const double> mean = server.mean(known);
        for (const std::size_t i : chosen) {
            Replica replica(clients[i], rate, options.noise,
                            Rng(options.seed).split("noise", round).split("client", i));
            std::ranges::copy(model, replica.parameters().begin());
            auto local = cores[i]->begin(replica, model, mean, known);
            for (std::size_t t = 0; t < options.local_steps; ++t) {
                const auto step = method->local_step(local, t);
                ATOLL_CHECK(step.ok());
            }
            auto vectors = cores[i]->end(local);
            for (const auto& vector : vectors) {
                if (!options.compress) continue;
                for (std::size_t j = 0; j < vector.residual.size(); ++j)
                    vector.decoded[j] += vector.residual[j];
                const Vector before(vector.decoded.begin(), vector.decoded.end());
                options.compress(vector.decoded);
                for (std::size_t j = 0; j < vector.residual.size(); ++j)
                    vector.residual[j] = before[j] - vector.decoded[j];
            }
            cores[i]->sent();
            if (options.lost && options.lost(round, i)) {
                cores[i]->settle(false);
            } else {
                pushes.emplace_back(i, std::move(vectors));
            }
        }
        server.begin_round();
        for (auto& [i, vectors] : pushes) {
            std::span<const double> update;
            std::span<const double> change;
            if (method->updates()) update = vectors.front().decoded;
            if (method->tracks()) change = vectors.back().decoded;
            server.absorb(update, change, method->weight(attendance[i], pushes.size(), known), {});
            cores[i]->settle(true);
        }
        server.end_round(pushes.size(), known, rate);
        for (std::size_t i = 0; i < clients.size(); ++i) {
            const bool took_part =
                std::ranges::any_of(pushes, [&](const auto& push) { return push.first == i; });
            federation::attend(attendance[i], took_part, 50);
        }
        errors.push_back(relative_error(server.model(), best));
        if (!options.observe) continue;
        std::vector<Vector> tracked;
        for (const auto& core : cores) tracked.emplace_back(core->tracked().begin(), core->tracked().end());
        options.observe(round, server.model(), server.tracked_sum(), tracked);
    }
    return errors;
}

std::size_t rounds_to(const std::vector<double>& errors, double bound) {
    std::size_t rounds = errors.size();
    while (rounds > 0 && errors[rounds - 1] < bound) --rounds;
    return rounds == errors.size() ? rounds : rounds + 1;
}

double factor_per_round(const std::vector<double>& errors) {
    constexpr double kHigh = 1e-2;
    constexpr double kLow = 1e-12;
    const std::size_t first = rounds_to(errors, kHigh);
    const std::size_t last = rounds_to(errors, kLow);
    if (last >= errors.size() || last <= first) return std::numeric_limits<double>::quiet_NaN();
    return std::pow(errors[last - 1] / errors[first - 1], 1 / static_cast<double>(last - first));
}

}  // namespace Atoll::sims

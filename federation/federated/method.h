// The mathematics of one federated algorithm: what a client does in its round, and what the server makes of
// what comes back. No network, no clock, no files. A template on the number type: the network runs it in
// float, simulations that must tell 1e-12 from 0 in double.
//
// Two things can go up, each a vector of the model's length:
//   update  x_r - x_i after the local steps, of which the server takes a weighted sum over the participants;
//   change  of a vector that the client tracks (its last gradient, its control variate, its last update).
//           The server holds the sum of all clients' tracked vectors, also of those who are away.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "federation/worker.h"

namespace Atoll::federation {

struct MethodOptions {
    std::size_t parameters = 0;
    std::size_t local_steps = 1;  // H
    double server_learning_rate = 1;
    double server_momentum = 0.9;
    double server_beta2 = 0.99;
    double server_epsilon = 1e-3;
    double proximal = 0.01;
};

// A client's replica.
template <typename Real>
class LocalReplica {
  public:
    virtual ~LocalReplica() = default;
    // The live parameters. A method that writes them and takes no step() afterwards calls gradient() next, or
    // is at the end of its round.
    [[nodiscard]] virtual std::span<Real> parameters() = 0;
    // Each is one local step: the inner optimizer's, or the gradient of the next batch and nothing more.
    [[nodiscard]] virtual Result<StepResult> step() = 0;
    [[nodiscard]] virtual Result<StepResult> gradient(std::span<Real> gradient) = 0;
    // eta of the present step.
    [[nodiscard]] virtual Real rate() const = 0;
};

template <typename Real>
struct LocalRound {
    LocalReplica<Real>& replica;
    std::span<const Real> model;    // x_r; the replica begins there
    std::span<const Real> mean;     // of all clients' tracked vectors, where the method downloads it
    std::span<const Real> tracked;  // the client's own, as the server counts it
    std::span<Real> target;         // what it shall count from now on
    std::span<Real> scratch;        // for one step
    std::size_t clients = 1;        // N, of the run
    Real rates = 0;                 // sum of the etas so far
};

// How often a client came.
struct Attendance {
    double weight = 1;     // mean length of the intervals from one participation to the next
    double intervals = 0;  // how many of them there were
    double absent = 0;     // rounds of the present one
};
// After a round; `absent_max`: an interval that is longer is cut (FedAU's K).
void attend(Attendance& attendance, bool took_part, double absent_max);

template <typename Real>
struct Aggregate {
    std::span<const Real> update;   // weighted sum over the participants
    std::span<const Real> tracked;  // sum over all clients
    std::size_t participants = 0;
    std::size_t clients = 0;  // N
    double rate = 0;          // eta of the round
};

template <typename Real>
struct MethodState {
    std::string_view name;
    std::span<Real> values;
};

template <typename Real>
class Method {
  public:
    explicit Method(const MethodOptions& options) : options_(options) {}
    virtual ~Method() = default;

    [[nodiscard]] virtual bool updates() const { return true; }
    [[nodiscard]] virtual bool tracks() const { return false; }
    [[nodiscard]] virtual bool downloads_mean() const { return false; }

    // ---- the client: local steps t = 0 .. H-1 from x_r ----
    [[nodiscard]] virtual Result<StepResult> local_step(LocalRound<Real>& round, std::size_t t);
    // Fills in `target`, if the method tracks.
    virtual void end_local(LocalRound<Real>&) {}

    // ---- the server ----
    // Of a participant's update in the sum.
    [[nodiscard]] virtual double weight(const Attendance&, std::size_t participants, std::size_t) const {
        return 1 / static_cast<double>(participants);
    }
    // x_r -> x_{r+1}, also of a round without participants: x <- x - eta_s update, unless the method has
    // another.
    virtual void server_step(std::span<Real> model, const Aggregate<Real>& aggregate);
    // What must survive a restart of the server beside the model and the sum.
    [[nodiscard]] virtual std::vector<MethodState<Real>> state() { return {}; }

  protected:
    MethodOptions options_;
};

struct MethodEntry {
    std::string_view name;
    double server_learning_rate;  // its own, where none is configured
    bool own_steps;               // takes gradients and steps itself: plain SGD
    bool tracks;
    std::unique_ptr<Method<float>> (*make_float)(const MethodOptions& options);
    std::unique_ptr<Method<double>> (*make_double)(const MethodOptions& options);
};

[[nodiscard]] std::span<const MethodEntry> federated_methods();
// Nothing if there is none of that name.
[[nodiscard]] const MethodEntry* find_method(std::string_view name);

}  // namespace Atoll::federation

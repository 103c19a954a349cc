// What a client and a server of a federated run hold between rounds, for any method: pure arithmetic, shared
// by the network (float) and by simulations in double precision.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "federation/federated/method.h"

namespace Atoll::federation {

// A sum of very many vectors (Kahan 1965): what float would lose in a hundred thousand additions is kept
// beside it.
template <typename Real>
class CompensatedSum {
  public:
    explicit CompensatedSum(std::size_t size) : sum_(size), lost_(size) {}
    // += scale * values
    void add(std::span<const Real> values, Real scale = 1) {
        for (std::size_t i = 0; i < sum_.size(); ++i) {
            const Real y = scale * values[i] - lost_[i];
            const Real t = sum_[i] + y;
            lost_[i] = (t - sum_[i]) - y;
            sum_[i] = t;
        }
    }
    [[nodiscard]] std::span<Real> sum() { return sum_; }
    [[nodiscard]] std::span<Real> lost() { return lost_; }

  private:
    std::vector<Real> sum_;
    std::vector<Real> lost_;
};

// The client: what the server counts of it, and, once it has sent something, what it will be if the server
// accepts that. Nothing is committed before it says so.
template <typename Real>
class ClientCore {
  public:
    // One vector on its way out. The caller encodes `values` (plus `residual`, if there is one), leaves in
    // `residual` what the encoding lost and in `decoded` what the server will see.
    struct Outgoing {
        std::span<const Real> values;
        std::span<Real> residual;
        std::span<Real> decoded;
    };

    // `feedback`: what the encoding loses of updates is sent later.
    ClientCore(Method<Real>& method, std::size_t parameters, bool feedback)
        : method_(method),
          tracked_(method.tracks() ? parameters : 0),
          staged_tracked_(tracked_.size()),
          residual_(method.updates() && feedback ? parameters : 0),
          staged_residual_(residual_.size()),
          update_(method.updates() ? parameters : 0),
          change_(tracked_.size()),
          target_(tracked_.size()),
          scratch_(parameters) {}

    [[nodiscard]] LocalRound<Real> begin(LocalReplica<Real>& replica, std::span<const Real> model,
                                         std::span<const Real> mean, std::size_t clients) {
        return {.replica = replica,
                .model = model,
                .mean = mean,
                .tracked = tracked_,
                .target = target_,
                .scratch = scratch_,
                .clients = clients};
    }
    // After the local steps. `pending()` until settle().
    [[nodiscard]] std::vector<Outgoing> end(LocalRound<Real>& round) {
        method_.end_local(round);
        const std::span<const Real> x = round.replica.parameters();
        for (std::size_t i = 0; i < update_.size(); ++i) update_[i] = round.model[i] - x[i];
        for (std::size_t i = 0; i < change_.size(); ++i) change_[i] = target_[i] - tracked_[i];
        return outgoing();
    }
    // Takes the client's part in the sum back.
    [[nodiscard]] std::vector<Outgoing> leave() {
        std::ranges::fill(update_, Real(0));
        for (std::size_t i = 0; i < change_.size(); ++i) change_[i] = -tracked_[i];
        return outgoing();
    }
    // The vectors are encoded. The tracked vector moves by what the server will see (EF21, Richtarik et al.
    // 2021: a lossy change needs no residual, as the next one corrects it).
    void sent() {
        pending_ = true;
        for (std::size_t i = 0; i < tracked_.size(); ++i) staged_tracked_[i] = tracked_[i] + change_[i];
    }
    void settle(bool accepted) {
        if (!pending_) return;
        pending_ = false;
        if (!accepted) return;
        std::ranges::copy(staged_tracked_, tracked_.begin());
        std::ranges::copy(staged_residual_, residual_.begin());
    }
    // Nothing of this client is counted any more.
    void restart() {
        pending_ = false;
        for (auto* vector : {&tracked_, &residual_}) std::ranges::fill(*vector, Real(0));
    }
    [[nodiscard]] bool pending() const { return pending_; }
    void set_pending(bool pending) { pending_ = pending; }
    [[nodiscard]] std::span<const Real> tracked() const { return tracked_; }

    // What must survive a restart, beside pending().
    [[nodiscard]] std::vector<MethodState<Real>> state() {
        std::vector<MethodState<Real>> vectors;
        if (!tracked_.empty()) {
            vectors.push_back({"tracked", tracked_});
            vectors.push_back({"staged_tracked", staged_tracked_});
        }
        if (!residual_.empty()) {
            vectors.push_back({"residual", residual_});
            vectors.push_back({"staged_residual", staged_residual_});
        }
        return vectors;
    }

  private:
    std::vector<Outgoing> outgoing() {
        ATOLL_CHECK(!pending_);
        std::vector<Outgoing> vectors;
        if (!update_.empty()) {
            std::ranges::copy(residual_, staged_residual_.begin());
            vectors.push_back({update_, staged_residual_, update_});
        }
        if (!change_.empty()) vectors.push_back({change_, {}, change_});
        return vectors;
    }

    Method<Real>& method_;
    std::vector<Real> tracked_, staged_tracked_, residual_, staged_residual_;
    std::vector<Real> update_, change_, target_, scratch_;
    bool pending_ = false;
};

// The server: the model, and the sum of what the clients track.
template <typename Real>
class ServerCore {
  public:
    ServerCore(Method<Real>& method, std::size_t parameters)
        : method_(method),
          model_(parameters),
          update_(method.updates() ? parameters : 0),
          sum_(method.tracks() ? parameters : 0),
          mean_(method.downloads_mean() ? parameters : 0) {}

    [[nodiscard]] std::span<Real> model() { return model_; }
    [[nodiscard]] std::span<Real> tracked_sum() { return sum_.sum(); }
    // What goes down beside the model; empty if nothing does.
    [[nodiscard]] std::span<const Real> mean(std::size_t clients) {
        for (std::size_t i = 0; i < mean_.size(); ++i) {
            mean_[i] = clients == 0 ? Real(0) : sum_.sum()[i] / static_cast<Real>(clients);
        }
        return mean_;
    }

    void begin_round() { std::ranges::fill(update_, Real(0)); }
    // One participant's vectors; a span is empty where the method has none. `memory`: the server's copy of
    // the client's tracked vector, if it keeps one.
    void absorb(std::span<const Real> update, std::span<const Real> change, double weight,
                std::span<Real> memory) {
        const auto factor = static_cast<Real>(weight);
        for (std::size_t i = 0; i < update.size(); ++i) update_[i] += factor * update[i];
        if (change.empty()) return;
        sum_.add(change);
        for (std::size_t i = 0; i < memory.size(); ++i) memory[i] += change[i];
    }
    // The client is gone: its part leaves the sum.
    void forget(std::span<const Real> memory) {
        if (!memory.empty()) sum_.add(memory, Real(-1));
    }
    void end_round(std::size_t participants, std::size_t clients, double rate) {
        method_.server_step(model_, {.update = update_,
                                     .tracked = sum_.sum(),
                                     .participants = participants,
                                     .clients = clients,
                                     .rate = rate});
    }

    // What must survive a restart.
    [[nodiscard]] std::vector<MethodState<Real>> state() {
        std::vector<MethodState<Real>> vectors = {{"model", model_}};
        if (!sum_.sum().empty()) {
            vectors.push_back({"sum", sum_.sum()});
            vectors.push_back({"sum_lost", sum_.lost()});
        }
        for (const auto& vector : method_.state()) vectors.push_back(vector);
        return vectors;
    }

  private:
    Method<Real>& method_;
    std::vector<Real> model_, update_;
    CompensatedSum<Real> sum_;
    std::vector<Real> mean_;
};

}  // namespace Atoll::federation

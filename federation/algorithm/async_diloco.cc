// Asynchronous DiLoCo (Liu et al. 2024, arXiv 2401.09135) over learners and syncers (syncer_training.h): a
// syncer applies every update the moment it comes, with delayed Nesterov momentum, and sends the learner the
// parameters as they are then.
//
//   learner w:  H_w inner steps;  send Delta;  go on
//   syncer:     Theta <- DelayedNesterov(Theta, Delta);  answer with Theta
//
// H_w = H v_w / v_max with dynamic local steps (local_steps.h), else H. N, of the momentum, is the number of
// members.
#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "federation/algorithm/entries.h"
#include "federation/algorithm/local_steps.h"
#include "federation/algorithm/syncer_training.h"
#include "federation/outer/delayed_nesterov.h"

namespace Atoll::federation {

namespace {

class AsyncDiloco final : public SyncerTraining {
  public:
    AsyncDiloco(const RunConfig& config, std::size_t parameters)
        : SyncerTraining(config, parameters),
          local_steps_(config.algorithm),
          outer_({.learning_rate = config.algorithm.outer_learning_rate,
                  .momentum = config.algorithm.outer_momentum},
                 parameters),
          arrivals_(fragments()) {}

    // Beside the learner's: "outer.*", "arrivals" (own: of the fragments that this member is the syncer of)
    // and "local_steps" (own: H_w).
    std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = SyncerTraining::state();
        for (const auto& part : outer_.state()) vectors.push_back({"outer." + part.name, part.values, false});
        vectors.push_back({"arrivals", arrivals_, false});
        vectors.push_back(local_steps_.state());
        return vectors;
    }

  private:
    std::uint64_t due(std::size_t) const override { return local_steps_.steps(); }
    // What a syncer needs to know of a learner here.
    double weight(double, double) const override { return local_steps_.speed(); }

    void contributed(Context& context, const Contribution& c) override {
        const std::vector<gossip::PeerId> members = present(context);
        speeds_[c.from] = c.weight;
        fastest_here_ = 0;
        for (const auto& member : members) {
            const auto known = speeds_.find(member);
            if (known != speeds_.end()) fastest_here_ = std::max(fastest_here_, known->second);
        }
        arrivals_[c.fragment] += 1;
        const bool last = arrivals_[c.fragment] >= static_cast<float>(members.size());
        if (last) arrivals_[c.fragment] = 0;
        for (const FragmentRange& range : fragment(c.fragment)) {
            outer_.arrive(range.offset, anchor(range), c.delta.subspan(range.offset, range.size),
                          members.size(), last);
        }
        advance(context, c.fragment);
        if (c.from == context.host.self()) {
            heard(fastest_here_);
        } else {
            send_anchor(context, c.fragment, {c.from});
        }
    }

    void forget(std::size_t index) override {
        arrivals_[index] = 0;
        for (const FragmentRange& range : fragment(index)) outer_.forget(range.offset, range.size);
    }

    void round_done(const RoundReport& report) override {
        local_steps_.measure(report);
        local_steps_.follow(std::max(fastest_, local_steps_.speed()));
    }
    double remark() const override { return fastest_here_; }
    void heard(double fastest) override {
        if (fastest > 0) fastest_ = fastest;
    }

    LocalSteps local_steps_;  // H_w
    DelayedNesterov outer_;
    std::vector<float> arrivals_;  // of each fragment since the last step of its momentum
    double fastest_ = 0;           // of all, as the syncers say
    double fastest_here_ = 0;      // of all who have contributed here
    std::map<gossip::PeerId, double> speeds_;
};

}  // namespace

std::unique_ptr<Algorithm> make_async_diloco(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<AsyncDiloco>(config, parameters);
}

Status check_async_diloco(const RunConfig& config) {
    ATOLL_TRY(check_syncer_training(config));
    const auto& options = config.algorithm;
    if (options.outer_optimizer == "nesterov" || options.outer_optimizer == "sgd") return {};
    return Error{ErrorCode::invalid,
                 fmt::format("algorithm.outer_optimizer = {} but algorithm.name = {} has delayed Nesterov "
                             "momentum: expected nesterov, or sgd for none",
                             options.outer_optimizer, options.name)};
}

}  // namespace Atoll::federation

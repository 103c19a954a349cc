// Decoupled DiLoCo (arXiv 2604.21428) over learners and syncers (syncer_training.h): learners never wait; the
// syncer of a fragment makes an outer step as soon as a quorum has contributed to it, after a grace time for
// those who are about to.
//
//   learner:  after floor((p + 1) H / P) inner steps of a round: send Delta_p, weight = tokens^2 / steps
//   syncer:   collect until a quorum of the members is there;
//             wait for those who usually come within the grace time;
//             Theta_p <- OuterOpt(Theta_p, radial-directional mean of what was collected);  send it to all
//
// A contribution that comes later counts in the next step. A fragment that no quorum came for within
// averaging.deadline_seconds makes its step with what there is.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "federation/algorithm/diloco.h"
#include "federation/algorithm/entries.h"
#include "federation/algorithm/radial_directional.h"
#include "federation/algorithm/syncer_training.h"

namespace Atoll::federation {

namespace {

constexpr double kLatenessMemory = 0.7;  // of the average over contributions
constexpr double kPatience = 1.5;        // times the lateness that a member has shown
constexpr double kPatienceMin = 0.1;     // of the grace time

class DecoupledDiloco final : public SyncerTraining {
  public:
    DecoupledDiloco(const RunConfig& config, std::size_t parameters)
        : SyncerTraining(config, parameters),
          inner_steps_(static_cast<std::uint64_t>(config.algorithm.inner_steps)),
          quorum_(config.algorithm.quorum),
          grace_seconds_(config.algorithm.grace_seconds),
          deadline_seconds_(config.averaging.deadline_seconds),
          outer_(make_outer(config, parameters)),
          collections_(fragments()),
          merged_(parameters) {}

    // Beside the learner's: "outer.*" (own: of the fragments that this member is the syncer of). What is
    // collected when the node stops goes into Theta before.
    std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = SyncerTraining::state();
        for (const auto& part : outer_->state())
            vectors.push_back({"outer." + part.name, part.values, false});
        return vectors;
    }

  private:
    // What a syncer has for the next step of a fragment.
    struct Collection {
        std::optional<RadialDirectionalMean> mean;
        std::set<gossip::PeerId> from;
        double begun = 0;  // when the first contribution came
        std::optional<double> quorum_time;
        std::set<gossip::PeerId> last_from;  // of the step before
        double last_quorum_time = 0;
        std::map<gossip::PeerId, double> lateness;  // seconds after the quorum that a member came, averaged
    };

    std::uint64_t due(std::size_t fragment) const override {
        return (fragment + 1) * inner_steps_ / fragments();
    }
    double weight(double steps, double tokens) const override { return steps * tokens * tokens; }

    void contributed(Context& context, const Contribution& c) override {
        Collection& collection = collections_[c.fragment];
        const double now = context.host.now();
        if (!collection.mean) collection.mean.emplace(context.worker.layout(), fragment(c.fragment));
        if (collection.mean->empty()) collection.begun = now;
        collection.mean->add(c.delta, c.weight);
        learn_lateness(collection, c.from, now);
        collection.from.insert(c.from);
        if (!collection.quorum_time && collection.from.size() >= needed(context)) {
            collection.quorum_time = now;
        }
        step_if_due(context, c.fragment, false);
    }

    void tick(Context& context, bool closing) override {
        for (std::size_t f = 0; f < fragments(); ++f) step_if_due(context, f, closing);
    }
    bool collecting(std::size_t index) const override {
        const auto& mean = collections_[index].mean;
        return mean && !mean->empty();
    }

    void forget(std::size_t index) override {
        Collection& collection = collections_[index];
        if (collection.mean) collection.mean->clear();
        collection.from.clear();
        collection.quorum_time.reset();
        for (const auto& part : outer_->state()) {
            for (const FragmentRange& range : fragment(index))
                std::ranges::fill(part.values.subspan(range.offset, range.size), 0.0F);
        }
    }

    std::size_t needed(const Context& context) const {
        const double count = std::ceil(quorum_ * static_cast<double>(present(context).size()) - 1e-9);
        return std::max<std::size_t>(1, static_cast<std::size_t>(count));
    }

    static void learn_lateness(Collection& collection, const gossip::PeerId& from, double now) {
        double seconds = 0;
        if (collection.quorum_time) {
            seconds = now - *collection.quorum_time;
        } else if (!collection.last_from.empty() && !collection.last_from.contains(from) &&
                   !collection.from.contains(from)) {
            seconds = now - collection.last_quorum_time;  // it missed the last step
        }
        const auto [known, fresh] = collection.lateness.emplace(from, seconds);
        if (!fresh) known->second = kLatenessMemory * known->second + (1 - kLatenessMemory) * seconds;
    }

    // Only for those who can be expected within the grace time.
    double grace_end(const Context& context, const Collection& collection) const {
        double wait = 0;
        for (const auto& member : present(context)) {
            if (collection.from.contains(member)) continue;
            const auto known = collection.lateness.find(member);
            const double expected = known == collection.lateness.end()
                                        ? grace_seconds_
                                        : std::max(kPatience * known->second, kPatienceMin * grace_seconds_);
            if (expected <= grace_seconds_) wait = std::max(wait, expected);
        }
        return *collection.quorum_time + wait;
    }

    void step_if_due(Context& context, std::size_t index, bool closing) {
        if (!collecting(index)) return;
        Collection& collection = collections_[index];
        const double now = context.host.now();
        const bool ready = collection.quorum_time && now >= grace_end(context, collection);
        if (!ready && !closing && now < collection.begun + deadline_seconds_) return;

        collection.mean->finish(merged_.span());
        for (const FragmentRange& range : fragment(index)) {
            outer_->step_range(range.offset, anchor(range), merged_.span().subspan(range.offset, range.size));
        }
        collection.last_from = std::exchange(collection.from, {});
        collection.last_quorum_time = collection.quorum_time.value_or(now);
        collection.quorum_time.reset();
        advance(context, index);
        std::vector<gossip::PeerId> others = present(context);
        std::erase(others, context.host.self());
        send_anchor(context, index, others);
    }

    std::uint64_t inner_steps_;
    double quorum_;
    double grace_seconds_;
    double deadline_seconds_;
    std::unique_ptr<OuterOptimizer> outer_;
    std::vector<Collection> collections_;
    kernels::FlatBuffer merged_;
};

}  // namespace

std::unique_ptr<Algorithm> make_decoupled_diloco(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<DecoupledDiloco>(config, parameters);
}

Status check_decoupled_diloco(const RunConfig& config) {
    ATOLL_TRY(check_syncer_training(config));
    const auto& options = config.algorithm;
    if (options.grace_seconds < config.averaging.deadline_seconds) return {};
    return Error{ErrorCode::invalid,
                 fmt::format("algorithm.grace_seconds = {} but averaging.deadline_seconds = {}, which ends "
                             "every wait: expected less",
                             options.grace_seconds, config.averaging.deadline_seconds)};
}

}  // namespace Atoll::federation

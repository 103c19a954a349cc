// SPARTA (Beton et al. 2025, "Improving the efficiency of distributed training using sparse parameter
// averaging"): local steps of any optimizer, and after every step, or every few, a random small share of the
// parameters is averaged, at the same places everywhere:
//
//   x_i <- H local steps from x_i
//   S(t): each coordinate with probability p, from the run's seed and the round
//   x_i[S] <- sum_j W_ij x_j[S]
//
// The places: one of every 1/p values in a row, drawn anew each round. What a place may lag behind is then
// known: it is averaged once in 1/p rounds in the mean.
#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "federation/algorithm/entries.h"
#include "federation/algorithm/gossip_training.h"
#include "federation/algorithm/steps.h"

namespace Atoll::federation {

namespace {

class Sparta final : public GossipTraining {
  public:
    Sparta(const RunConfig& config, std::size_t parameters)
        : GossipTraining(config, parameters, 0),
          fraction_(config.algorithm.averaged_fraction),
          seed_(static_cast<std::uint64_t>(config.run.seed)),
          places_(static_cast<std::size_t>(std::ceil(static_cast<double>(parameters) * fraction_))),
          values_(places_.size()) {}

  private:
    Status mix(Context& context, RoundReport& report) override {
        Worker& worker = context.worker;
        const std::span<float> x = worker.parameters();
        ATOLL_TRY(check_finite(x, worker.step()));
        draw_places(x.size());
        for (std::size_t i = 0; i < places_.size(); ++i) values_.data()[i] = x[places_[i]];
        std::vector<gossip::AveragePart> parts;
        parts.push_back({.values = values_.span(), .codec = &context.codec});
        parts.front().rotates = true;
        context.inbox.absorb();
        const double start = context.host.now();
        ATOLL_ASSIGN(report.average, context.averaging.average(round(), parts));
        report.exchange_seconds = context.host.now() - start;
        for (std::size_t i = 0; i < places_.size(); ++i) x[places_[i]] = values_.data()[i];
        settle(worker, report);
        return {};
    }

    // The i-th place lies in [i / p, (i + 1) / p).
    void draw_places(std::size_t size) {
        Rng rng = Rng(seed_).split("sparta", round());
        for (std::size_t i = 0; i < places_.size(); ++i) {
            const std::size_t begin = std::min(boundary(i), size - 1);
            const std::size_t end = std::clamp(boundary(i + 1), begin + 1, size);
            places_[i] = begin + static_cast<std::size_t>(rng.below(end - begin));
        }
    }

    [[nodiscard]] std::size_t boundary(std::size_t i) const {
        return static_cast<std::size_t>(static_cast<double>(i) / fraction_);
    }

    double fraction_;  // p
    std::uint64_t seed_;
    std::vector<std::size_t> places_;
    kernels::FlatBuffer values_;  // at the places
};

}  // namespace

std::unique_ptr<Algorithm> make_sparta(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<Sparta>(config, parameters);
}

void sparta_defaults(RunConfig& config) {
    config.algorithm.inner_steps = 1;
    config.algorithm.averaged_fraction = 0.005;
    config.topology.name = "full";
    config.codec.name = "none";
}

Status check_sparta(const RunConfig& config) { return check_gossip_training(config); }

}  // namespace Atoll::federation

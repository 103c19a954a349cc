// Robust averaging: everybody sends its values to the peers that the topology names, and makes of its own and
// of the received ones an aggregate that a minority of liars among them cannot move far:
//
//   x_i <- Aggregate({x_i} and the x_j of all j that send to i)            in each stage
//
// Everybody has one voice: the topology's weights do not count, nor does the order or time of arrival. A
// share that is lost or late is missing, and a second one of the same member does not count. A member is
// heard only where the topology says so. Not push-sum: there is no mass to conserve, and without liars the
// result is near the mean of the neighbourhood, not equal to it.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "gossip/averaging/opinions.h"

namespace Atoll::gossip {

class RobustGossip : public Averaging {
  public:
    RobustGossip(const AveragingContext& context, std::unique_ptr<const Aggregate> aggregate);

    [[nodiscard]] std::size_t stages(const Roster& roster) const override;
    [[nodiscard]] Result<AverageReport> average(std::uint64_t round, std::span<AveragePart> parts) override;

  private:
    struct Share {
        PeerId from;
        MixShare body;
        SharedBytes payload;
    };
    // Orders the shares of other stages that have come early.
    using Slot = std::tuple<std::uint64_t, std::uint32_t, PeerId>;  // round, stage, sender

    [[nodiscard]] Status run_stage();
    [[nodiscard]] SharedBytes send_values(const View& view, const Exchange& exchange);
    [[nodiscard]] Status wait_for_values(double deadline);
    [[nodiscard]] Status aggregate(const SharedBytes& own);

    void handle(const Message& message);
    void on_share(Share share);
    void keep_early(Share share);
    [[nodiscard]] std::string objection(const Share& share);
    void on_view_changed();
    void note(std::string reason);

    AveragingContext context_;
    std::unique_ptr<const Aggregate> aggregate_;
    Packing packing_;
    kernels::FlatBuffer rows_;
    std::map<Slot, Share> early_;
    std::uint64_t sequence_ = 0;

    // Of the call and stage in progress.
    std::span<AveragePart> parts_;
    std::uint64_t round_ = 0;
    std::size_t stage_count_ = 0;
    std::uint32_t stage_ = 0;
    std::set<PeerId> neighbours_;  // who sends to us in this stage
    std::set<PeerId> expected_;    // of them, whose values have not come yet
    std::map<PeerId, SharedBytes> values_;
    AverageReport report_;
};

}  // namespace Atoll::gossip

// Push-sum averaging over any topology (Kempe, Dobra, Gehrke 2003), made to survive real networks: deadlines,
// losses, late and repeated messages, members that come and go, views that differ.
//
// Every member holds an estimate z (the parts) and a weight w, its mass being w * z; a round starts with w
// = 1. In each stage the topology says which fraction of the mass to keep and which to send to whom. A share
// carries its weight and the encoded estimate, encoded once for all receivers; what is kept is decoded from
// the same bytes. Then
//
//     w' = sum of m_j,    z' = sum of (m_j / w') * decoded_j      over the kept and the received parcels, by
//     member
//
// With everyone present all weights are 1 and this is the doubly stochastic mixing of the papers. Whatever
// happens, the sum of all mass (held by members, or pending between them) stays the same: see Ledger.
//
// With a tolerance the members mix until they agree, in windows of as many stages as everybody takes to hear
// from everybody (after Yadav and Salapaka 2007, who decide by a maximum too). In each window a member notes
// the largest disagreement between what it received and what it held; in the next one the shares carry the
// largest that their sender has heard of, so that at its end all know the same maximum, and all stop, or
// none.
//
// One PushSum mixes one stream of vectors: every call passes parts of the same sizes and meaning, since mass
// that comes late or comes home goes into the next call.
#pragma once

#include <map>
#include <set>
#include <utility>

#include "gossip/averaging/averaging.h"
#include "gossip/averaging/ledger.h"
#include "gossip/averaging/packing.h"
#include "gossip/averaging/patience.h"

namespace Atoll::gossip {

class PushSum : public Averaging {
  public:
    explicit PushSum(const AveragingContext& context);

    [[nodiscard]] std::size_t stages(const Roster& roster) const override;
    [[nodiscard]] Result<AverageReport> average(std::uint64_t round, std::span<AveragePart> parts) override;

  private:
    // Own mass of one stage: the encoded estimate and what part of its weight stays here.
    struct Kept {
        double weight = 0;
        SharedBytes payload;  // empty: nothing was sent, the estimate stays as it is in the parts
    };

    [[nodiscard]] std::size_t stages_max(const Roster& roster) const;
    [[nodiscard]] Status run_stage();
    void drain(double deadline);
    [[nodiscard]] Kept send_shares(const View& view, const Exchange& exchange, double deadline);
    [[nodiscard]] Status wait_for_shares(double deadline);
    [[nodiscard]] Status fold(const Kept& kept);
    // Its bytes are at `at` in every parcel; `resting`: weight of the values as they stand.
    [[nodiscard]] Status fold_part(const AveragePart& part, std::span<const Parcel> parcels, std::size_t at,
                                   std::size_t bytes, double resting) const;

    void handle(const Message& message);
    void on_share(Parcel parcel);
    void on_view_changed();
    void send_reminders();
    // Asks those for their share again whose time it is; returns when to look again.
    double ask_again();
    void send_again(const PeerId& to, const MixRequest& request);
    void answer(const PeerId& to, MixReceipt receipt);
    // Why a share is not acceptable, in words; empty if it is.
    [[nodiscard]] std::string objection(const Parcel& parcel);
    void note(std::string reason);
    // Of the shares of this stage, before they are folded in.
    void take_disagreement(std::span<const Parcel> parcels);
    void begin_window(const View& view);
    // At the end of a stage: whether everybody knows that everybody agrees.
    [[nodiscard]] bool agreed() const;

    AveragingContext context_;
    Ledger ledger_;
    Packing packing_;
    Patience patience_;

    // Of the call and stage in progress.
    std::span<AveragePart> parts_;
    std::uint64_t round_ = 0;
    std::size_t stage_count_ = 0;
    std::uint32_t stage_ = 0;
    double stage_begin_ = 0;  // host time
    double weight_ = 1;
    // A share of this stage that has not come yet.
    struct Awaited {
        unsigned asked = 0;
        double ask_at = 0;
    };
    std::map<PeerId, Awaited> expected_;
    std::set<std::pair<PeerId, std::uint32_t>> refused_;  // (sender, stage) that came and was not acceptable
    AverageReport report_;

    // The windows of a tolerance.
    std::uint32_t window_end_ = 0;  // stage after the present window
    double disagreement_ = 0;       // the largest seen in the present window
    double last_disagreement_ = 0;  // the largest of the window before that we have heard of
};

}  // namespace Atoll::gossip

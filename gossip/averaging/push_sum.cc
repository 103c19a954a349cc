#include "gossip/averaging/push_sum.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/check.h"
#include "gossip/averaging/entries.h"
#include "gossip/limits.h"
#include "gossip/topology/reach.h"

namespace Atoll::gossip {

namespace {

// Peers may be this many rounds ahead; their shares wait here, at most kHeldPerMember of each on average.
constexpr std::uint64_t kRoundsAheadMax = 2;
constexpr std::size_t kHeldPerMember = 4;

// Stages that a tolerance may take where averaging.stages does not say: at least so many, and windows.
constexpr std::size_t kStagesToAgreeMin = 64;
constexpr std::size_t kWindowsToAgreeMin = 8;

}  // namespace

PushSum::PushSum(const AveragingContext& context)
    : context_(context),
      // Microseconds: a restarted node starts above whatever its earlier incarnation reached.
      ledger_(context.host.self(), static_cast<std::uint64_t>(context.host.unix_time() * 1e6)),
      packing_(context_, std::numeric_limits<std::size_t>::max()),
      patience_(context_.options.deadline_seconds) {}

std::size_t PushSum::stages(const Roster& roster) const {
    if (roster.n < 2) return 0;
    const bool as_told = context_.options.stages > 0 && context_.options.tolerance == 0;
    return as_told ? static_cast<std::size_t>(context_.options.stages) : context_.topology.rounds(roster);
}

// A multiple of the topology's rounds, so that every average begins where a period does.
std::size_t PushSum::stages_max(const Roster& roster) const {
    if (roster.n < 2 || context_.options.tolerance == 0) return stages(roster);
    const std::size_t rounds = context_.topology.rounds(roster);
    const auto told = static_cast<std::size_t>(context_.options.stages);
    const std::size_t window = stages_until_all_heard(context_.topology, roster, 0);
    const std::size_t stages = told > 0 ? told : std::max(kStagesToAgreeMin, kWindowsToAgreeMin * window);
    return (stages + rounds - 1) / rounds * rounds;
}

Result<AverageReport> PushSum::average(std::uint64_t round, std::span<AveragePart> parts) {
    const double start = context_.host.now();
    parts_ = parts;
    round_ = round;
    stage_ = 0;
    weight_ = 1;
    packing_.begin(round, parts);
    expected_.clear();
    refused_.clear();
    report_ = {.members = context_.inbox.view().size()};
    if (!std::isfinite(packing_.norm())) return own_values_not_finite(round);
    // Alone there is nothing to send, but mass of an earlier round may have come home.
    stage_count_ = std::max<std::size_t>(stages_max(context_.inbox.view()), 1);
    window_end_ = 0;
    ledger_.begin_round(round);
    ledger_.on_view(context_.inbox.view());
    for (Parcel& parcel : ledger_.release(round)) on_share(std::move(parcel));
    for (bool done = false; !done && stage_ < stage_count_; ++stage_) {
        ATOLL_TRY(run_stage());
        done = context_.options.tolerance > 0 && agreed();
    }
    report_.stages = stage_;
    report_.weight = weight_;
    report_.seconds = context_.host.now() - start;
    parts_ = {};
    return std::exchange(report_, {});
}

Status PushSum::run_stage() {
    stage_begin_ = context_.host.now();
    const double deadline = stage_begin_ + context_.options.deadline_seconds;
    if (stage_ > 0) packing_.changed();
    drain(deadline);
    const View view = context_.inbox.view();
    if (stage_ == window_end_ && context_.options.tolerance > 0) begin_window(view);
    const auto me = view.index_of(context_.host.self());
    Exchange exchange;
    if (me && view.size() > 1) {
        exchange = context_.topology.exchange(view, *me, round_ * stage_count_ + stage_);
    }
    for (const Edge& edge : exchange.receive) {
        const PeerId& peer = view.members[edge.member];
        if (!ledger_.took(peer, round_, stage_) && !refused_.contains({peer, stage_}))
            expected_[peer] = {.ask_at = stage_begin_ + patience_.wait(0)};
    }
    const Kept kept = send_shares(view, exchange, deadline);
    ATOLL_TRY(wait_for_shares(deadline));
    for (const auto& [peer, awaited] : expected_) {
        note(fmt::format("{} sent nothing for round {} stage {} within {:.1f} s", peer.short_name(), round_,
                         stage_, context_.options.deadline_seconds));
        report_.complete = false;
    }
    expected_.clear();
    return fold(kept);
}

// Takes in what has arrived, so that a stage starts with the newest view.
void PushSum::drain(double deadline) {
    while (context_.host.now() < deadline) {
        const std::optional<Message> message = context_.inbox.next(context_.host.now());
        if (!message) break;
        handle(*message);
    }
}

PushSum::Kept PushSum::send_shares(const View& view, const Exchange& exchange, double deadline) {
    Kept kept{.weight = weight_, .payload = {}};
    if (exchange.send.empty()) return kept;
    kept.weight = exchange.keep * weight_;
    MixShare share{.round = round_,
                   .stage = stage_,
                   .disagreement = last_disagreement_,
                   .schedule = packing_.schedule()};
    kept.payload = packing_.pack(share);
    for (const Edge& edge : exchange.send) {
        const PeerId& peer = view.members[edge.member];
        // Late mass may have made us heavy: what exceeds the weight that a receiver accepts stays here.
        share.weight = std::min(edge.weight * weight_, 1.0);
        kept.weight += edge.weight * weight_ - share.weight;
        if (!ledger_.can_send(peer)) {
            note(peer.short_name() + " has not answered for too long: nothing more is sent to it");
            kept.weight += share.weight;
            continue;
        }
        share.sequence = ledger_.send(peer, share, kept.payload, deadline);
        const Status sent = context_.host.send(peer, share, kept.payload);
        if (sent.ok()) {
            report_.bytes_sent += kept.payload.size();
        } else {
            ledger_.unsend(share.sequence);
            kept.weight += share.weight;
            note(fmt::format("could not send to {}: {}", peer.short_name(), sent.error().message));
        }
    }
    return kept;
}

Status PushSum::wait_for_shares(double deadline) {
    while (!expected_.empty() && context_.host.now() < deadline) {
        send_reminders();
        const double ask_at = ask_again();
        const auto message = context_.inbox.next(std::min({deadline, ledger_.next_reminder(), ask_at}));
        if (message) handle(*message);
        if (context_.host.stopping()) break;
    }
    if (context_.host.stopping()) {
        return Error{ErrorCode::interrupted, fmt::format("stopped while averaging round {}", round_)};
    }
    send_reminders();
    return {};
}

Status PushSum::fold(const Kept& kept) {
    std::vector<Parcel> parcels = ledger_.collect(round_, stage_);
    std::erase_if(parcels, [&](const Parcel& parcel) {
        if (packing_.fits(parcel.share)) return false;
        note(fmt::format("mass of round {} is dropped: it has other parts than round {}", parcel.share.round,
                         round_));
        return true;
    });
    if (context_.options.tolerance > 0) take_disagreement(parcels);
    if (parcels.empty() && kept.payload.empty()) return {};
    if (!kept.payload.empty()) {
        MixShare own{.round = round_, .stage = stage_, .weight = kept.weight};
        parcels.push_back({context_.host.self(), std::move(own), kept.payload});
        std::ranges::sort(parcels, sums_before);
    }
    const double resting = kept.payload.empty() ? kept.weight : 0;  // in the parts, not in a parcel
    weight_ = resting;
    for (const Parcel& parcel : parcels) weight_ += parcel.share.weight;
    std::size_t at = 0;
    for (const AveragePart& part : parts_) {
        const std::size_t bytes = part.codec->encoded_bytes(part.values.size());
        ATOLL_TRY(fold_part(part, parcels, at, bytes, resting));
        at += bytes;
    }
    return {};
}

Status PushSum::fold_part(const AveragePart& part, std::span<const Parcel> parcels, std::size_t at,
                          std::size_t bytes, double resting) const {
    const auto counts = [&](const Parcel& parcel) { return !part.rotates || parcel.share.round == round_; };
    double weight = resting;
    for (const Parcel& parcel : parcels) weight += counts(parcel) ? parcel.share.weight : 0;
    if (!(weight > 0)) return {};
    bool accumulate = resting > 0;
    if (accumulate) {
        const auto factor = static_cast<float>(resting / weight);
        for (float& value : part.values) value *= factor;
    }
    for (const Parcel& parcel : parcels) {
        if (!counts(parcel)) continue;
        const auto factor = static_cast<float>(parcel.share.weight / weight);
        // What others sent has been decoded before; our own can fail if values + residual is not finite.
        if (const Status decoded =
                part.codec->decode(parcel.payload.view().subspan(at, bytes), part.values, factor, accumulate);
            !decoded.ok()) {
            return Error{ErrorCode::failed, "our own values with their residual: " + decoded.error().message};
        }
        accumulate = true;
    }
    return {};
}

void PushSum::handle(const Message& message) {
    if (const auto* share = std::get_if<MixShare>(&message.body)) {
        on_share({message.sender, *share, message.payload});
    } else if (const auto* receipt = std::get_if<MixReceipt>(&message.body)) {
        if (ledger_.on_receipt(message.sender, *receipt) && receipt->kind == ReceiptKind::refused) {
            note(fmt::format("{} refused our share: {}", message.sender.short_name(), receipt->reason));
        }
    } else if (const auto* withdraw = std::get_if<MixWithdraw>(&message.body)) {
        answer(message.sender, ledger_.on_withdraw(message.sender, withdraw->sequence));
    } else if (const auto* request = std::get_if<MixRequest>(&message.body)) {
        send_again(message.sender, *request);
    } else if (std::holds_alternative<ViewChanged>(message.body)) {
        on_view_changed();
    }
}

void PushSum::on_share(Parcel parcel) {
    const PeerId from = parcel.from;
    const MixShare share = parcel.share;
    if (const auto said = ledger_.decided(from, share.sequence)) return answer(from, *said);
    const std::size_t held_max = kHeldPerMember * context_.inbox.view().size();
    const bool soon = share.round > round_ && share.round <= round_ + kRoundsAheadMax;
    if (soon && ledger_.hold(parcel, held_max)) return;
    if (share.round == round_ && share.stage == stage_) {
        const auto awaited = expected_.extract(from);
        if (awaited && awaited.mapped().asked == 0) patience_.saw(context_.host.now() - stage_begin_);
    }
    if (std::string reason = objection(parcel); !reason.empty()) {
        note(fmt::format("refused a share of {}: {}", from.short_name(), reason));
        report_.complete = false;
        if (share.round == round_) refused_.insert({from, share.stage});
        answer(from, ledger_.refuse(from, share.sequence, std::move(reason)));
    } else {
        answer(from, ledger_.accept(std::move(parcel)));
    }
}

std::string PushSum::objection(const Parcel& parcel) {
    const MixShare& share = parcel.share;
    if (share.round > round_)
        return fmt::format("round {} is too far ahead of round {}", share.round, round_);
    if (share.round + 1 < round_)
        return fmt::format("round {} is over, this is round {}", share.round, round_);
    if (share.stage >= stage_count_) {
        return fmt::format("stage {} of a schedule of {}", share.stage, stage_count_);
    }
    if (ledger_.took(parcel.from, share.round, share.stage)) {
        return fmt::format("a second share for round {} stage {}", share.round, share.stage);
    }
    if (!(share.weight > 0 && share.weight <= 1)) {
        return fmt::format("weight {} is not within 0 and 1", share.weight);
    }
    return packing_.objection(share, parcel.payload.view());
}

void PushSum::take_disagreement(std::span<const Parcel> parcels) {
    for (const Parcel& parcel : parcels) {
        if (parcel.from == context_.host.self() || parcel.share.round != round_ ||
            parcel.share.stage != stage_) {
            continue;
        }
        disagreement_ = std::max(disagreement_, packing_.disagreement(parcel.payload.view()));
        last_disagreement_ = std::max(last_disagreement_, parcel.share.disagreement);
    }
}

void PushSum::begin_window(const View& view) {
    last_disagreement_ = stage_ > 0 ? disagreement_ : std::numeric_limits<double>::infinity();
    disagreement_ = 0;
    const std::size_t length =
        stages_until_all_heard(context_.topology, view, round_ * stage_count_ + stage_);
    window_end_ = stage_ + static_cast<std::uint32_t>(length);
}

bool PushSum::agreed() const {
    return stage_ + 1 == window_end_ && last_disagreement_ <= context_.options.tolerance;
}

void PushSum::on_view_changed() {
    const View& view = context_.inbox.view();
    std::erase_if(expected_, [&](const auto& entry) {
        const PeerId& peer = entry.first;
        if (view.index_of(peer)) return false;
        note(fmt::format("{} left during round {} stage {}: {}", peer.short_name(), round_, stage_,
                         view.reason));
        report_.complete = false;
        return true;
    });
    ledger_.on_view(view);
}

void PushSum::send_reminders() {
    for (const auto& [peer, sequence] :
         ledger_.reminders(context_.host.now(), context_.options.deadline_seconds)) {
        // If it cannot be sent now, the next reminder tries again.
        (void)context_.host.send(peer, MixWithdraw{sequence});
    }
}

double PushSum::ask_again() {
    const double now = context_.host.now();
    double next = std::numeric_limits<double>::infinity();
    for (auto& [peer, awaited] : expected_) {
        if (awaited.ask_at <= now) {
            // One that is lost is followed by another.
            (void)context_.host.send(peer, MixRequest{round_, stage_});
            awaited.ask_at = now + patience_.wait(++awaited.asked);
        }
        next = std::min(next, awaited.ask_at);
    }
    return next;
}

void PushSum::send_again(const PeerId& to, const MixRequest& request) {
    const auto parcel = ledger_.resend(to, request.round, request.stage);
    if (parcel && context_.host.send(to, parcel->share, parcel->payload).ok()) {
        report_.bytes_sent += parcel->payload.size();
    }
}

void PushSum::answer(const PeerId& to, MixReceipt receipt) {
    receipt.reason.resize(std::min(receipt.reason.size(), kReasonBytesMax));
    // A receipt that is lost is asked for again.
    (void)context_.host.send(to, std::move(receipt));
}

void PushSum::note(std::string reason) {
    if (std::ranges::find(report_.reasons, reason) == report_.reasons.end()) {
        report_.reasons.push_back(std::move(reason));
    }
}

std::unique_ptr<Averaging> make_push_sum(const AveragingContext& context) {
    return std::make_unique<PushSum>(context);
}

}  // namespace Atoll::gossip

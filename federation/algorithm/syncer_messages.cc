// What a learner and syncer does with the messages that come between two inner steps.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "federation/algorithm/steps.h"
#include "federation/algorithm/syncer_training.h"
#include "gossip/limits.h"

namespace Atoll::federation {

namespace {

constexpr std::size_t kMessagesPerStep = 1000;  // handled at most, so that nobody can keep us from training

bool is_anchor(const gossip::MixShare& share) { return share.stage % 2 == 1; }

}  // namespace

void SyncerTraining::serve(Context& context) {
    for (std::size_t i = 0; i < kMessagesPerStep; ++i) {
        const auto message = context.inbox.next(context.host.now());
        if (!message) break;
        handle(context, *message);
    }
    follow_view(context);
    deliveries_->resend(context.host, resend_seconds_);
    tick(context, false);
}

// Who is there; what was sent to a syncer that is none any more goes to the one that is.
void SyncerTraining::follow_view(Context& context) {
    const auto& members = view(context).members;
    for (const gossip::PeerId& member : members) {
        if (begun_ && !members_.contains(member)) away_.insert(member);
    }
    members_ = {members.begin(), members.end()};
    std::erase_if(away_, [&](const gossip::PeerId& member) { return !members_.contains(member); });
    for (const Deliveries::Pending& entry : deliveries_->pending()) {
        if (context.host.now() > entry.sent + deadline_seconds_) away_.insert(entry.to);
    }
    away_.erase(context.host.self());

    for (Deliveries::Pending& entry : std::exchange(deliveries_->pending(), {})) {
        const std::size_t f = fragment_of(entry.share);
        const gossip::PeerId to = syncer(context, f);
        if (to == entry.to) {
            deliveries_->pending().push_back(std::move(entry));
            continue;
        }
        note(fmt::format("{} does not answer: {}", entry.to.short_name(),
                         members_.contains(entry.to)
                             ? fmt::format("nothing came in {:.1f} s", context.host.now() - entry.sent)
                             : view(context).reason));
        if (to != context.host.self()) {
            deliveries_->send(context.host, to, std::move(entry.share), std::move(entry.payload),
                              resend_seconds_);
        } else if (decode(entry.share, entry.payload, context.codec, INFINITY).ok()) {
            contributed(context, {f, to, entry.share.weight, received_.span()});
        }
    }
}

void SyncerTraining::announce(Context& context) {
    const auto& members = view(context).members;
    for (std::size_t f = 0; f < fragments(); ++f) {
        if (members[f % members.size()] != context.host.self()) continue;
        for (const gossip::PeerId& member : members) {
            if (member != context.host.self()) tell_version(context, f, member, kAnswer);
        }
    }
}

void SyncerTraining::handle(Context& context, const gossip::Message& message) {
    away_.erase(message.sender);
    if (const auto* share = std::get_if<gossip::MixShare>(&message.body)) {
        // A stranger may be one whom our view does not have yet: what matters it will send again.
        if (fragment_of(*share) >= fragments() || !view(context).index_of(message.sender)) return;
        if (!is_anchor(*share)) return on_delta(context, message, *share);
        if (share->sequence == kQuestion) return on_question(context, message.sender, *share);
        on_anchor(context, message, *share);
    } else if (const auto* receipt = std::get_if<gossip::MixReceipt>(&message.body)) {
        const auto settled = deliveries_->settle(message.sender, *receipt);
        if (settled && receipt->kind != gossip::ReceiptKind::accepted) {
            note(fmt::format("{} refused our update: {}", message.sender.short_name(), receipt->reason));
        }
    }
}

void SyncerTraining::on_delta(Context& context, const gossip::Message& message,
                              const gossip::MixShare& share) {
    const gossip::PeerId& from = message.sender;
    const std::size_t f = fragment_of(share);
    if (!leads(context, f)) return;  // views differ: when they agree it is sent again
    gossip::MixReceipt receipt{share.sequence, gossip::ReceiptKind::accepted, ""};
    if (deliveries_->taken(from, share.sequence)) {
        (void)context.host.send(from, receipt);
        return send_anchor(context, f, {from});
    }
    deliveries_->take(from, share.sequence);
    const double norm_max = norms_[f] > 0 ? norm_ratio_max_ * norms_[f] : INFINITY;
    Status status = decode(share, message.payload, context.codec, norm_max);
    if (status && heaviest_ > 0 && share.weight > norm_ratio_max_ * heaviest_) {
        status = Error{ErrorCode::refused, fmt::format("weight {:.3g} is more than {:g} times ours, {:.3g}",
                                                       share.weight, norm_ratio_max_, heaviest_)};
    }
    if (!status) {
        receipt.kind = gossip::ReceiptKind::refused;
        receipt.reason = status.error().message.substr(0, gossip::kReasonBytesMax);
        note(fmt::format("refused an update of {}: {}", from.short_name(), status.error().message));
    }
    (void)context.host.send(from, receipt);
    if (!status) return;
    heard_ = context.host.now();
    contributed(context, {f, from, share.weight, received_.span()});
}

void SyncerTraining::on_question(Context& context, const gossip::PeerId& from,
                                 const gossip::MixShare& share) {
    const std::size_t f = fragment_of(share);
    if (finished_.insert(from).second) heard_ = context.host.now();
    if (share.round < version(f)) return send_anchor(context, f, {from});
    if (!leads(context, f)) return;
    const bool last = closed(context, f) && share.round == version(f);
    if (last) current_[f].insert(from);
    tell_version(context, f, from, last ? kLastAnswer : kAnswer);
}

void SyncerTraining::on_anchor(Context& context, const gossip::Message& message,
                               const gossip::MixShare& share) {
    const gossip::PeerId& from = message.sender;
    const std::size_t f = fragment_of(share);
    const bool of_syncer = from == syncer(context, f);
    if (of_syncer) heard(share.weight);
    if (share.round < version(f)) {
        // A syncer that was away and has come back.
        if (of_syncer) send_anchor(context, f, {from});
        return;
    }
    if (share.round > version(f) && (of_syncer || leads(context, f)) && !share.parts.empty()) {
        const double own = norm_of(anchor_, f);
        const Status status =
            decode(share, message.payload, *exact_, own > 0 ? norm_ratio_max_ * own : INFINITY);
        if (!status) {
            return note(
                fmt::format("refused the parameters of {}: {}", from.short_name(), status.error().message));
        }
        for (const FragmentRange& range : fragments_[f])
            std::ranges::copy(received_.span().subspan(range.offset, range.size), anchor(range).begin());
        versions_[f] = static_cast<float>(share.round);
        forget(f);
        go_on_from_anchor(context.worker, f);
        heard_ = context.host.now();
    }
    if (of_syncer && share.sequence == kLastAnswer && share.round == version(f) && final_.insert(f).second) {
        tell_version(context, f, from, kQuestion);  // we have it: the syncer need not wait for us
    }
}

Status SyncerTraining::decode(const gossip::MixShare& share, const SharedBytes& payload,
                              const gossip::Codec& codec, double norm_max) {
    const Fragment& ranges = fragments_[fragment_of(share)];
    const auto fits = [&](const gossip::SharePart& part, const FragmentRange& range) {
        return part.codec == codec.wire_id() && part.count == range.size &&
               part.bytes == codec.encoded_bytes(range.size);
    };
    std::size_t bytes = 0;
    for (const FragmentRange& range : ranges) bytes += codec.encoded_bytes(range.size);
    if (!std::ranges::equal(share.parts, ranges, fits) || payload.size() != bytes) {
        return Error{ErrorCode::refused, "its parts differ from ours in number, size or codec"};
    }
    double squares = 0;
    std::size_t at = 0;
    for (const FragmentRange& range : ranges) {
        const std::span<float> values = received_.span().subspan(range.offset, range.size);
        const std::size_t size = codec.encoded_bytes(range.size);
        ATOLL_TRY(codec.decode(payload.view().subspan(at, size), values, 1, false));
        squares += std::pow(norm(values), 2);
        at += size;
    }
    if (std::sqrt(squares) <= norm_max) return {};
    return Error{ErrorCode::refused, fmt::format("norm {:.3g} is more than {:g} times ours",
                                                 std::sqrt(squares), norm_ratio_max_)};
}

void SyncerTraining::send_anchor(Context& context, std::size_t fragment,
                                 const std::vector<gossip::PeerId>& to) {
    gossip::MixShare share{.round = version(fragment),
                           .stage = static_cast<std::uint32_t>(2 * fragment + 1),
                           .sequence = closed(context, fragment) ? kLastAnswer : kAnswer,
                           .weight = remark()};
    const std::size_t bytes = fragment_size(fragments_[fragment]) * sizeof(float);
    const std::shared_ptr<std::byte[]> buffer = std::make_shared_for_overwrite<std::byte[]>(bytes);
    std::size_t at = 0;
    for (const FragmentRange& range : fragments_[fragment]) {
        const std::size_t written =
            exact_->encode(anchor(range), {}, {buffer.get() + at, bytes - at}, {}, {});
        share.parts.push_back({exact_->wire_id(), range.size, written});
        at += written;
    }
    const SharedBytes payload(buffer, ByteView(buffer.get(), at));
    for (const gossip::PeerId& peer : to) {
        // What is lost is made good by the answer to the next update.
        if (context.host.send(peer, share, payload).ok()) notes_.bytes_sent += payload.size();
    }
}

void SyncerTraining::tell_version(Context& context, std::size_t fragment, const gossip::PeerId& to,
                                  std::uint64_t sequence) {
    (void)context.host.send(to, gossip::MixShare{.round = version(fragment),
                                                 .stage = static_cast<std::uint32_t>(2 * fragment + 1),
                                                 .sequence = sequence,
                                                 .weight = remark()});
}

}  // namespace Atoll::federation

#include "gossip/averaging/star.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gossip/averaging/entries.h"
#include "gossip/averaging/packing.h"
#include "gossip/averaging/parts.h"
#include "gossip/codec/seed.h"
#include "gossip/limits.h"

namespace Atoll::gossip {

namespace {

constexpr double kGatherFraction = 0.5;       // of the deadline: the rest is for the answers
constexpr double kRepeatFraction = 1.0 / 16;  // of the deadline, between two repetitions
constexpr std::uint64_t kRoundsAheadMax = 2;
constexpr std::uint32_t kUpStage = 0;
constexpr std::uint32_t kDownStage = 1;

std::size_t values_of(std::span<const AveragePart> parts) {
    std::size_t count = 0;
    for (const AveragePart& part : parts) count += part.values.size();
    return count;
}

std::span<float> residual_of(const AveragePart& part) {
    return part.residuals.empty() ? std::span<float>{} : part.residuals[0];
}

}  // namespace

Star::Star(const AveragingContext& context)
    : context_(context),
      // Microseconds: a restarted member starts above whatever its earlier incarnation reached.
      next_sequence_(static_cast<std::uint64_t>(context.host.unix_time() * 1e6)) {}

Result<AverageReport> Star::average(std::uint64_t round, std::span<AveragePart> parts) {
    context_.inbox.absorb();
    const View& view = context_.inbox.view();
    start_ = context_.host.now();
    parts_ = parts;
    round_ = round;
    norm_ = norm_of(parts);
    report_ = {.weight = 1, .members = view.size()};
    if (!std::isfinite(norm_)) return own_values_not_finite(round);
    const std::size_t values = values_of(parts);
    if (result_.size() < values) {
        result_ = kernels::FlatBuffer(values);
        residual_ = kernels::FlatBuffer(values);
    }
    if (view.size() > 1) {
        const double end = start_ + context_.options.deadline_seconds;
        std::optional<PeerId> server = server_of(view, context_.options.server);
        while (!server && context_.host.now() < end && !context_.host.stopping()) {
            (void)context_.inbox.wait_for_members(view.size() + 1, end);
            server = server_of(view, context_.options.server);
        }
        if (!server) {
            if (context_.host.stopping()) return interrupted().error();
            fail("nobody serves: " + (context_.options.server.empty()
                                          ? "all members are clients"
                                          : context_.options.server + " (averaging.server) is not here"));
        } else if (*server == context_.host.self()) {
            ATOLL_TRY(serve());
        } else {
            ATOLL_TRY(ask(*server));
        }
    }
    uploads_.clear();
    report_.seconds = context_.host.now() - start_;
    parts_ = {};
    return std::exchange(report_, {});
}

// ---- the server ----

Status Star::serve() {
    ATOLL_TRY(gather());
    StarDownload download{.round = round_, .members = uploads_.size() + 1};
    const SharedBytes payload = make_mean(download.parts);
    report_.weight = static_cast<double>(download.members) / static_cast<double>(report_.members);
    return answer(download, payload);
}

Status Star::gather() {
    expected_.clear();
    for (const PeerId& peer : context_.inbox.view().members) {
        if (peer != context_.host.self()) expected_.insert(peer);
    }
    for (auto& [peer, upload] : std::exchange(early_, {})) on_upload(peer, std::move(upload));
    const double until = start_ + kGatherFraction * context_.options.deadline_seconds;
    while (!expected_.empty() && context_.host.now() < until && !context_.host.stopping()) {
        const auto message = context_.inbox.next(until);
        if (!message) continue;
        if (const auto* upload = std::get_if<StarUpload>(&message->body)) {
            on_upload(message->sender, {*upload, message->payload});
        } else if (std::holds_alternative<ViewChanged>(message->body)) {
            const View& view = context_.inbox.view();
            std::erase_if(expected_, [&](const PeerId& peer) {
                if (view.index_of(peer)) return false;
                fail(fmt::format("{} left during round {}: {}", peer.short_name(), round_, view.reason));
                return true;
            });
        }
    }
    if (context_.host.stopping()) return interrupted();
    for (const PeerId& peer : expected_) {
        fail(fmt::format("{} sent nothing for round {} within {:.1f} s", peer.short_name(), round_,
                         until - start_));
    }
    return {};
}

void Star::on_upload(const PeerId& from, Upload upload) {
    const StarUpload head = upload.head;
    MixReceipt receipt{.sequence = head.sequence};
    if (head.round > round_ && head.round <= round_ + kRoundsAheadMax) {
        if (!context_.inbox.view().index_of(from)) return;
        early_[from] = std::move(upload);
    } else if (head.round != round_) {
        receipt.kind = ReceiptKind::refused;
        receipt.reason = fmt::format("round {} is not this one, {}", head.round, round_);
    } else if (const auto known = uploads_.find(from); known == uploads_.end()) {
        receipt.reason = objection_to_payload(head.parts, upload.payload.view(), parts_, norm_,
                                              context_.options.norm_ratio_max, scratch_);
        receipt.reason.resize(std::min(receipt.reason.size(), kReasonBytesMax));
        expected_.erase(from);
        if (receipt.reason.empty()) {
            uploads_[from] = std::move(upload);
        } else {
            receipt.kind = ReceiptKind::refused;
            fail(fmt::format("refused what {} sent: {}", from.short_name(), receipt.reason));
        }
    }
    (void)context_.host.send(from, std::move(receipt));  // one that is lost is asked for again
}

// In the order of the members' identities, whatever the order of arrival.
SharedBytes Star::make_mean(std::vector<SharePart>& described) {
    const auto share = static_cast<float>(1 / static_cast<double>(uploads_.size() + 1));
    std::vector<std::size_t> at(uploads_.size(), 0);  // in each payload
    std::vector<AveragePart> means;
    std::vector<std::span<float>> lost;
    std::size_t offset = 0;
    for (const AveragePart& part : parts_) {
        const std::span<float> sum = result_.span().subspan(offset, part.values.size());
        offset += part.values.size();
        const std::span<float> residual = residual_of(part);
        bool own_is_in = false;
        bool first = true;
        const auto add_own = [&] {  // not encoded: nothing of it, nor of the residual, is lost
            for (std::size_t i = 0; i < sum.size(); ++i) {
                const float value = part.values[i] + (residual.empty() ? 0 : residual[i]);
                sum[i] = (first ? 0 : sum[i]) + share * value;
            }
            own_is_in = true;
            first = false;
        };
        std::size_t index = 0;
        for (const auto& [peer, upload] : uploads_) {
            if (!own_is_in && context_.host.self() < peer) add_own();
            const std::size_t bytes = part.codec->encoded_bytes(part.values.size());
            // It has been decoded before, when it was judged.
            (void)part.codec->decode(upload.payload.view().subspan(at[index], bytes), sum, share, !first);
            at[index++] += bytes;
            first = false;
        }
        if (!own_is_in) add_own();
        std::ranges::fill(residual, 0.0F);
        means.push_back({.values = sum, .codec = part.codec});
        lost.push_back(residual);
    }
    const SharedBytes payload = encode_parts(means, lost, described, [&](std::size_t part) {
        return codec_seed(context_.options.seed, context_.host.self(), round_, kDownStage, part);
    });
    // Lost from the mean: as if each upload had lost as much, and we make it good alone.
    for (const auto& residual : lost) {
        for (float& value : residual) value /= share;
    }
    std::size_t position = 0;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        const auto bytes = static_cast<std::size_t>(described[i].bytes);
        (void)parts_[i].codec->decode(payload.view().subspan(position, bytes), parts_[i].values, 1, false);
        position += bytes;
    }
    return payload;
}

Status Star::answer(const StarDownload& download, const SharedBytes& payload) {
    std::map<PeerId, StarUpload> waiting;  // and what each had sent
    for (const PeerId& peer : context_.inbox.view().members) {
        if (peer == context_.host.self()) continue;
        const auto upload = uploads_.find(peer);
        waiting[peer] = upload == uploads_.end() ? StarUpload{} : upload->second.head;
    }
    const double end = start_ + context_.options.deadline_seconds;
    const double repeat_seconds = kRepeatFraction * context_.options.deadline_seconds;
    double repeat = context_.host.now();
    while (!waiting.empty() && context_.host.now() < end && !context_.host.stopping()) {
        if (context_.host.now() >= repeat) {
            for (const auto& [peer, upload] : waiting) {
                StarDownload own = download;
                own.received = own.decided = upload.sequence;
                if (context_.host.send(peer, std::move(own), payload).ok())
                    report_.bytes_sent += payload.size();
            }
            repeat = context_.host.now() + repeat_seconds;
            // Who sent nothing may not be listening: it is told once.
            std::erase_if(waiting, [](const auto& entry) { return entry.second.sequence == 0; });
        }
        const auto message = context_.inbox.next(std::min(end, repeat));
        if (!message) continue;
        if (const auto* receipt = std::get_if<MixReceipt>(&message->body)) {
            if (receipt->sequence == round_) waiting.erase(message->sender);
        } else if (const auto* upload = std::get_if<StarUpload>(&message->body)) {
            on_upload(message->sender, {*upload, message->payload});
        } else if (std::holds_alternative<ViewChanged>(message->body)) {
            const View& view = context_.inbox.view();
            std::erase_if(waiting, [&](const auto& entry) { return !view.index_of(entry.first); });
        }
    }
    return context_.host.stopping() ? interrupted() : Status();
}

// ---- the others ----

Status Star::ask(const PeerId& server) { return wait_for_mean(server, make_upload()); }

Star::Upload Star::make_upload() {
    Upload upload{.head = {.round = round_, .sequence = next_sequence_++}, .payload = {}};
    std::vector<std::span<float>> residuals;  // copies: the caller's change only if the upload counts
    std::size_t offset = 0;
    for (const AveragePart& part : parts_) {
        const std::span<float> own = residual_of(part);
        residuals.push_back(residual_.span().subspan(offset, own.size()));
        std::ranges::copy(own, residuals.back().begin());
        offset += part.values.size();
    }
    upload.payload = encode_parts(parts_, residuals, upload.head.parts, [&](std::size_t part) {
        return codec_seed(context_.options.seed, context_.host.self(), round_, kUpStage, part);
    });
    return upload;
}

Status Star::wait_for_mean(const PeerId& server, const Upload& upload) {
    const double end = start_ + context_.options.deadline_seconds;
    const double repeat_seconds = kRepeatFraction * context_.options.deadline_seconds;
    double repeat = context_.host.now();
    bool arrived = false;  // our upload, at the server
    while (context_.host.now() < end && !context_.host.stopping()) {
        if (!arrived && context_.host.now() >= repeat) {
            if (context_.host.send(server, upload.head, upload.payload).ok())
                report_.bytes_sent += upload.payload.size();
            repeat = context_.host.now() + repeat_seconds;
        }
        const auto message = context_.inbox.next(arrived ? end : std::min(end, repeat));
        if (!message) continue;
        if (std::holds_alternative<ViewChanged>(message->body)) {
            const View& view = context_.inbox.view();
            if (view.index_of(server)) continue;
            fail(fmt::format("the server {} left during round {}: {}", server.short_name(), round_,
                             view.reason));
            return {};
        }
        if (message->sender != server) continue;
        if (const auto* receipt = std::get_if<MixReceipt>(&message->body)) {
            if (receipt->sequence != upload.head.sequence) continue;
            arrived = true;
            if (receipt->kind == ReceiptKind::accepted) continue;
            fail(fmt::format("the server {} refused our vectors: {}", server.short_name(), receipt->reason));
            if (receipt->reason.starts_with("round")) return {};  // it is elsewhere: no mean will come
        } else if (const auto* download = std::get_if<StarDownload>(&message->body)) {
            (void)context_.host.send(server, MixReceipt{.sequence = download->round});
            if (download->round != round_) continue;
            if (download->decided != upload.head.sequence) fail("our vectors came too late to be counted");
            if (!take_mean(server, *download, message->payload.view())) return {};
            report_.weight = static_cast<double>(download->members) / static_cast<double>(report_.members);
            if (download->members < report_.members) {
                fail(fmt::format("the server {} counted {} of {} members", server.short_name(),
                                 download->members, report_.members));
            }
            return {};
        }
    }
    if (context_.host.stopping()) return interrupted();
    fail(fmt::format("the server {} did not answer round {} within {:.1f} s", server.short_name(), round_,
                     context_.options.deadline_seconds));
    return {};
}

bool Star::take_mean(const PeerId& server, const StarDownload& download, ByteView payload) {
    const std::string reason = objection_to_payload(download.parts, payload, parts_, norm_,
                                                    context_.options.norm_ratio_max, scratch_);
    if (!reason.empty()) {
        fail(fmt::format("refused the mean of the server {}: {}", server.short_name(), reason));
        return false;
    }
    std::size_t at = 0;
    std::size_t offset = 0;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        const auto bytes = static_cast<std::size_t>(download.parts[i].bytes);
        (void)parts_[i].codec->decode(payload.subspan(at, bytes), parts_[i].values, 1, false);
        at += bytes;
        const std::span<float> own = residual_of(parts_[i]);
        if (report_.complete) std::ranges::copy(residual_.span().subspan(offset, own.size()), own.begin());
        offset += parts_[i].values.size();
    }
    return true;
}

Status Star::interrupted() const {
    return Error{ErrorCode::interrupted, fmt::format("stopped while averaging round {}", round_)};
}

void Star::note(std::string reason) {
    if (std::ranges::find(report_.reasons, reason) == report_.reasons.end())
        report_.reasons.push_back(std::move(reason));
}

void Star::fail(std::string reason) {
    report_.complete = false;
    note(std::move(reason));
}

std::unique_ptr<Averaging> make_star(const AveragingContext& context) {
    return std::make_unique<Star>(context);
}

}  // namespace Atoll::gossip

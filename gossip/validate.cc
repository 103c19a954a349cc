#include "gossip/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "gossip/address.h"
#include "gossip/certificate.h"
#include "gossip/limits.h"

namespace Atoll::gossip {

namespace {
bool printable(std::string_view text) {
    return std::ranges::none_of(text,
                                [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

Error bad(std::string what) { return {ErrorCode::invalid, std::move(what)}; }

Status check_text(std::string_view field, std::string_view text, std::size_t bytes_max) {
    if (text.size() > bytes_max)
        return bad(fmt::format("{} of {} bytes, at most {} are allowed", field, text.size(), bytes_max));
    if (!printable(text)) return bad(fmt::format("{} holds control characters", field));
    return {};
}

Status check_records(const std::vector<Bytes>& records, std::size_t count_max) {
    if (records.size() > count_max)
        return bad(fmt::format("{} member records, at most {} are allowed", records.size(), count_max));
    for (const Bytes& record : records) {
        if (record.size() > kMemberRecordBytesMax) return bad("a member record is too long");
    }
    return {};
}

// One overload a kind on the wire; `payload` is the announced size.
Status check(const Heartbeat& beat, std::uint64_t) {
    ATOLL_TRY(check_name(beat.name));
    ATOLL_TRY(check_text("address", beat.address, kAddressBytesMax));
    ATOLL_TRY(check_region(beat.region));
    if (beat.certificate.size() != Certificate::kBytes) return bad("the certificate has the wrong length");
    if (!std::isfinite(beat.loss)) return bad("loss is not a finite number");
    return check_records(beat.others, kRecordsPerHeartbeatMax);
}
Status check(const Leave& leave, std::uint64_t) {
    return check_text("reason", leave.reason, kReasonBytesMax);
}
Status check(const JoinRequest& request, std::uint64_t) {
    if (request.record.size() > kMemberRecordBytesMax) return bad("the member record is too long");
    return {};
}
Status check(const JoinReply& reply, std::uint64_t) {
    ATOLL_TRY(check_text("reason", reply.reason, kReasonBytesMax));
    if (reply.run_config.size() > kRunConfigBytesMax) {
        return bad(fmt::format("run configuration of {} bytes, at most {} are allowed",
                               reply.run_config.size(), kRunConfigBytesMax));
    }
    return check_records(reply.records, kRecordsPerJoinReplyMax);
}
Status check_parts(const std::vector<SharePart>& parts, std::uint64_t payload) {
    if (parts.size() > kSharePartsMax)
        return bad(fmt::format("{} parts, at most {} are allowed", parts.size(), kSharePartsMax));
    std::uint64_t bytes = 0;
    for (const SharePart& part : parts) {
        if (part.bytes > kShareBytesMax || part.count > kShareBytesMax) return bad("a part is too large");
        bytes += part.bytes;  // at most 2^10 x 2^36: no overflow
    }
    if (bytes != payload) return bad(fmt::format("its parts have {} bytes, its payload {}", bytes, payload));
    return {};
}
Status check(const MixShare& share, std::uint64_t payload) {
    if (!std::isfinite(share.weight) || share.weight < 0)
        return bad(fmt::format("weight {} is not a finite number >= 0", share.weight));
    if (!(share.disagreement >= 0))
        return bad(fmt::format("disagreement {} is not a number >= 0", share.disagreement));
    return check_parts(share.parts, payload);
}
Status check(const MixReceipt& receipt, std::uint64_t) {
    if (receipt.kind > ReceiptKind::withdrawn) return bad("unknown kind of receipt");
    return check_text("reason", receipt.reason, kReasonBytesMax);
}
Status check(const MixWithdraw&, std::uint64_t) { return {}; }
Status check(const MixRequest&, std::uint64_t) { return {}; }
Status check(const ReduceReady& ready, std::uint64_t) {
    if (!std::isfinite(ready.bandwidth) || ready.bandwidth < 0)
        return bad(fmt::format("bandwidth {} is not a finite number >= 0", ready.bandwidth));
    return {};
}
Status check(const ReducePlan& plan, std::uint64_t) {
    if (plan.members.size() < 2 || plan.members.size() > kReduceMembersMax)
        return bad(fmt::format("{} members, expected 2 to {}", plan.members.size(), kReduceMembersMax));
    std::uint64_t units = 0;
    for (std::size_t i = 0; i < plan.members.size(); ++i) {
        units += plan.members[i].share;
        if (i > 0 && !(plan.members[i - 1].id < plan.members[i].id)) return bad("members are not in order");
    }
    if (units != kReduceShareUnits)
        return bad(fmt::format("shares add up to {}, expected {}", units, kReduceShareUnits));
    if (std::ranges::all_of(plan.members, [](const ReduceMember& member) { return member.weight == 0; }))
        return bad("nobody contributes");
    return {};
}
Status check(const ReduceChunk&, std::uint64_t payload) {
    if (payload == 0) return bad("a chunk without bytes");
    return {};
}
Status check(const ReduceRequest& request, std::uint64_t) {
    if (request.pieces.size() > kReduceRequestPiecesMax)
        return bad(
            fmt::format("{} pieces, at most {} are allowed", request.pieces.size(), kReduceRequestPiecesMax));
    return {};
}
Status check(const ReduceVote& vote, std::uint64_t) {
    if (vote.verdict > ReduceVerdict::failed) return bad("unknown verdict");
    return check_text("reason", vote.reason, kReasonBytesMax);
}
Status check(const StarUpload& upload, std::uint64_t payload) {
    if (upload.parts.empty()) return bad("an upload without parts");
    return check_parts(upload.parts, payload);
}
Status check(const StarDownload& download, std::uint64_t payload) {
    if (download.verdict > ReceiptKind::withdrawn) return bad("unknown verdict");
    return check_parts(download.parts, payload);
}
Status check(const StarHello& hello, std::uint64_t) {
    if (!std::isfinite(hello.unix_time)) return bad("unix_time is not a finite number");
    return {};
}
Status check(const ReduceTotal& total, std::uint64_t) {
    if (!std::isfinite(total.value) || total.value < 0)
        return bad(fmt::format("value {} is not a finite number >= 0", total.value));
    return {};
}
Status check(const StateRequest&, std::uint64_t) { return {}; }
Status check(const StateManifest& manifest, std::uint64_t payload) {
    if (manifest.chunk_bytes == 0 || manifest.chunk_bytes > kStateChunkBytesMax)
        return bad(fmt::format("chunks of {} bytes", manifest.chunk_bytes));
    const std::uint64_t chunks =
        manifest.bytes / manifest.chunk_bytes + (manifest.bytes % manifest.chunk_bytes != 0 ? 1 : 0);
    if (payload % sizeof(Hash) != 0 || payload / sizeof(Hash) != chunks) {
        return bad(
            fmt::format("a payload of {} bytes does not hold the hashes of {} chunks", payload, chunks));
    }
    return {};
}
Status check(const StateChunk&, std::uint64_t payload) {
    if (payload == 0) return bad("a chunk without bytes");
    return {};
}
Status check(const StateRefusal& refusal, std::uint64_t) {
    return check_text("reason", refusal.reason, kReasonBytesMax);
}
template <typename Local>
Status check(const Local&, std::uint64_t) {
    return bad("this kind never leaves its node");
}
}  // namespace

Status check_region(std::string_view region) { return check_text("region", region, kRegionBytesMax); }

Status check_name(std::string_view name) {
    if (name.empty()) return bad("the node's name is empty");
    return check_text("name", name, kNameBytesMax);
}

std::uint64_t payload_bytes_max(const Body& body) {
    if (std::holds_alternative<MixShare>(body) || std::holds_alternative<StarUpload>(body) ||
        std::holds_alternative<StarDownload>(body))
        return kShareBytesMax;
    if (std::holds_alternative<ReduceChunk>(body)) return kReduceChunkBytesMax;
    if (std::holds_alternative<StateChunk>(body)) return kStateChunkBytesMax;
    if (std::holds_alternative<StateManifest>(body)) return kStateManifestBytesMax;
    return 0;
}

Status validate(const Body& body, std::uint64_t payload_bytes) {
    const Status status = [&]() -> Status {
        if (payload_bytes > payload_bytes_max(body)) {
            return bad(fmt::format("a payload of {} bytes, at most {} are allowed", payload_bytes,
                                   payload_bytes_max(body)));
        }
        return std::visit([&](const auto& kind) { return check(kind, payload_bytes); }, body);
    }();
    return status.ok() ? status : Status(status.error().within(std::string(kind_name(body))));
}

}  // namespace Atoll::gossip

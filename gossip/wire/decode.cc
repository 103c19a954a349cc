#include <capnp/message.h>
#include <capnp/serialize.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "gossip/limits.h"
#include "gossip/validate.h"
#include "gossip/wire.h"
#include "gossip/wire/layout.h"
#include "gossip/wire/message.capnp.h"

namespace Atoll::gossip {

namespace {
// A list or data field that is not of the size its meaning demands; caught below with Cap'n Proto's own.
struct BadField {
    const char* what;
};

Bytes bytes_of(capnp::Data::Reader data) {
    const auto* begin = reinterpret_cast<const std::byte*>(data.begin());
    return {begin, begin + data.size()};
}

template <std::size_t N>
std::array<std::byte, N> array_of(capnp::Data::Reader data, const char* what) {
    if (data.size() != N) throw BadField{what};
    std::array<std::byte, N> value;
    std::memcpy(value.data(), data.begin(), N);
    return value;
}

std::string text_of(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

std::vector<Bytes> list_of(capnp::List<capnp::Data>::Reader list, std::size_t count_max, const char* what) {
    if (list.size() > count_max) throw BadField{what};
    std::vector<Bytes> values;
    values.reserve(list.size());
    for (const auto value : list) values.push_back(bytes_of(value));
    return values;
}

Heartbeat read(wire::Heartbeat::Reader in) {
    return {.incarnation = in.getIncarnation(),
            .name = text_of(in.getName()),
            .address = text_of(in.getAddress()),
            .round = in.getRound(),
            .step = in.getStep(),
            .tokens = in.getTokens(),
            .loss = in.getLoss(),
            .certificate = bytes_of(in.getCertificate()),
            .region = text_of(in.getRegion()),
            .statement = array_of<64>(in.getStatement(), "statement is not 64 bytes"),
            .others = list_of(in.getOthers(), kRecordsPerHeartbeatMax, "too many member records")};
}
Leave read(wire::Leave::Reader in) { return {text_of(in.getReason())}; }
JoinRequest read(wire::JoinRequest::Reader in) { return {bytes_of(in.getRecord())}; }
JoinReply read(wire::JoinReply::Reader in) {
    return {.accepted = in.getAccepted(),
            .reason = text_of(in.getReason()),
            .run_config = text_of(in.getRunConfig()),
            .records = list_of(in.getRecords(), kRecordsPerJoinReplyMax, "too many member records")};
}
std::vector<SharePart> parts_of(capnp::List<wire::SharePart>::Reader in) {
    if (in.size() > kSharePartsMax) throw BadField{"too many parts"};
    std::vector<SharePart> parts;
    parts.reserve(in.size());
    for (const auto part : in) parts.push_back({part.getCodec(), part.getCount(), part.getBytes()});
    return parts;
}
MixShare read(wire::MixShare::Reader in) {
    MixShare share{.round = in.getRound(),
                   .stage = in.getStage(),
                   .sequence = in.getSequence(),
                   .weight = in.getWeight(),
                   .disagreement = in.getDisagreement(),
                   .schedule = array_of<32>(in.getSchedule(), "schedule is not 32 bytes")};
    share.parts = parts_of(in.getParts());
    return share;
}
MixReceipt read(wire::MixReceipt::Reader in) {
    return {in.getSequence(), static_cast<ReceiptKind>(in.getKind()), text_of(in.getReason())};
}
MixWithdraw read(wire::MixWithdraw::Reader in) { return {in.getSequence()}; }
MixRequest read(wire::MixRequest::Reader in) { return {in.getRound(), in.getStage()}; }
ReduceReady read(wire::ReduceReady::Reader in) {
    return {.round = in.getRound(),
            .attempt = in.getAttempt(),
            .in_doubt = in.getInDoubt(),
            .bandwidth = in.getBandwidth(),
            .parts = array_of<32>(in.getParts(), "parts is not 32 bytes"),
            .weight = in.getWeight(),
            .may_own = in.getMayOwn()};
}
ReducePlan read(wire::ReducePlan::Reader in) {
    ReducePlan plan{in.getRound(), in.getAttempt(), {}};
    const auto members = in.getMembers();
    if (members.size() > kReduceMembersMax) throw BadField{"too many members"};
    plan.members.reserve(members.size());
    for (const auto member : members)
        plan.members.push_back(
            {{array_of<32>(member.getId(), "id is not 32 bytes")}, member.getShare(), member.getWeight()});
    return plan;
}
ReduceChunk read(wire::ReduceChunk::Reader in) {
    return {in.getRound(), in.getAttempt(), in.getPiece(), in.getResult()};
}
ReduceRequest read(wire::ReduceRequest::Reader in) {
    ReduceRequest request{in.getRound(), in.getAttempt(), in.getResult(), {}};
    const auto pieces = in.getPieces();
    if (pieces.size() > kReduceRequestPiecesMax) throw BadField{"too many pieces"};
    request.pieces.reserve(pieces.size());
    for (const std::uint32_t piece : pieces) request.pieces.push_back(piece);
    return request;
}
ReduceVote read(wire::ReduceVote::Reader in) {
    return {in.getRound(),
            in.getAttempt(),
            static_cast<ReduceVerdict>(in.getVerdict()),
            array_of<32>(in.getHash(), "hash is not 32 bytes"),
            {array_of<32>(in.getCulprit(), "culprit is not 32 bytes")},
            text_of(in.getReason())};
}
StarUpload read(wire::StarUpload::Reader in) {
    return {in.getRound(), in.getSequence(), in.getTokens(), in.getLeaving(), parts_of(in.getParts())};
}
StarDownload read(wire::StarDownload::Reader in) {
    return {in.getRound(),   in.getReceived(),
            in.getDecided(), static_cast<ReceiptKind>(in.getVerdict()),
            in.getMembers(), parts_of(in.getParts())};
}
StarHello read(wire::StarHello::Reader in) {
    return {in.getRound(), in.getBirth(), in.getParameters(), in.getUnixTime()};
}
ReduceTotal read(wire::ReduceTotal::Reader in) { return {in.getRound(), in.getAttempt(), in.getValue()}; }
StateRequest read(wire::StateRequest::Reader in) { return {in.getManifest(), in.getRound(), in.getIndex()}; }
StateManifest read(wire::StateManifest::Reader in) {
    return {in.getRound(), in.getBytes(), in.getChunkBytes(),
            array_of<32>(in.getHash(), "hash is not 32 bytes")};
}
StateChunk read(wire::StateChunk::Reader in) { return {in.getRound(), in.getIndex()}; }
StateRefusal read(wire::StateRefusal::Reader in) { return {in.getRound(), text_of(in.getReason())}; }

// Nothing if the kind is unknown to this program.
std::optional<Body> read_body(wire::Envelope::Reader in) {
    switch (in.which()) {
        case wire::Envelope::HEARTBEAT: return read(in.getHeartbeat());
        case wire::Envelope::LEAVE: return read(in.getLeave());
        case wire::Envelope::MIX_SHARE: return read(in.getMixShare());
        case wire::Envelope::MIX_RECEIPT: return read(in.getMixReceipt());
        case wire::Envelope::MIX_WITHDRAW: return read(in.getMixWithdraw());
        case wire::Envelope::MIX_REQUEST: return read(in.getMixRequest());
        case wire::Envelope::REDUCE_READY: return read(in.getReduceReady());
        case wire::Envelope::REDUCE_PLAN: return read(in.getReducePlan());
        case wire::Envelope::REDUCE_CHUNK: return read(in.getReduceChunk());
        case wire::Envelope::REDUCE_REQUEST: return read(in.getReduceRequest());
        case wire::Envelope::REDUCE_VOTE: return read(in.getReduceVote());
        case wire::Envelope::STAR_UPLOAD: return read(in.getStarUpload());
        case wire::Envelope::STAR_DOWNLOAD: return read(in.getStarDownload());
        case wire::Envelope::STAR_HELLO: return read(in.getStarHello());
        case wire::Envelope::REDUCE_TOTAL: return read(in.getReduceTotal());
        case wire::Envelope::STATE_REQUEST: return read(in.getStateRequest());
        case wire::Envelope::STATE_MANIFEST: return read(in.getStateManifest());
        case wire::Envelope::STATE_CHUNK: return read(in.getStateChunk());
        case wire::Envelope::STATE_REFUSAL: return read(in.getStateRefusal());
        case wire::Envelope::JOIN_REQUEST: return read(in.getJoinRequest());
        case wire::Envelope::JOIN_REPLY: return read(in.getJoinReply());
    }
    return std::nullopt;
}

Decoded refuse(Refusal refusal, std::string reason) {
    return {std::nullopt, refusal, fmt::format("{}: {}", refusal_name(refusal), reason)};
}

// `serialised` has been authenticated: this guards against a member gone wrong, not against strangers.
Decoded parse(const PeerId& sender, ByteView serialised) {
    if (serialised.size() % sizeof(capnp::word) != 0) return refuse(Refusal::malformed, "not whole words");
    // Cap'n Proto wants aligned words; a small ZeroMQ frame rarely is.
    kj::Array<capnp::word> words = kj::heapArray<capnp::word>(serialised.size() / sizeof(capnp::word));
    std::memcpy(words.begin(), serialised.data(), serialised.size());
    try {
        capnp::FlatArrayMessageReader reader(
            words, {.traversalLimitInWords = kTraversalWordsMax, .nestingLimit = kNestingMax});
        if (reader.getEnd() != words.end()) return refuse(Refusal::malformed, "bytes after the message");
        const auto in = reader.getRoot<wire::Envelope>();
        std::optional<Body> body = read_body(in);
        if (!body) {
            return refuse(Refusal::unknown_kind, fmt::format("kind {} is not known to this program",
                                                             static_cast<unsigned>(in.which())));
        }
        Envelope envelope{sender, in.getSequence(), {in.getPayloadBytes(), std::nullopt}, std::move(*body)};
        if (const auto hash = in.getPayloadHash(); hash.size() != 0) {
            envelope.payload.hash = array_of<32>(hash, "payload hash is not 32 bytes");
        }
        if (const Status valid = validate(envelope.body, envelope.payload.bytes); !valid.ok()) {
            return refuse(Refusal::bad_content, valid.error().message);
        }
        return {std::move(envelope), {}, {}};
    } catch (const kj::Exception& exception) {
        return refuse(Refusal::malformed, exception.getDescription().cStr());
    } catch (const BadField& field) {
        return refuse(Refusal::malformed, field.what);
    }
}
}  // namespace

std::string_view refusal_name(Refusal refusal) {
    switch (refusal) {
        case Refusal::too_large: return "too large";
        case Refusal::too_short: return "cut off";
        case Refusal::not_ours: return "not an Atoll message";
        case Refusal::other_version: return "other protocol version";
        case Refusal::other_run: return "other run";
        case Refusal::other_sender: return "other sender";
        case Refusal::bad_signature: return "bad signature";
        case Refusal::malformed: return "malformed";
        case Refusal::unknown_kind: return "unknown kind";
        case Refusal::bad_content: return "bad content";
        case Refusal::replayed: return "replayed";
    }
    return "refused";
}

Decoded decode_message(ByteView frame, const Hash& run, const std::optional<PeerId>& connection) {
    if (frame.size() > kFrameBytesMax) {
        return refuse(Refusal::too_large,
                      fmt::format("{} bytes, at most {} are allowed", frame.size(), kFrameBytesMax));
    }
    if (frame.size() < layout::kBody)
        return refuse(Refusal::too_short, fmt::format("{} bytes", frame.size()));
    if (!std::ranges::equal(frame.first(layout::kMagic.size()), layout::kMagic)) {
        return refuse(Refusal::not_ours, "wrong first bytes");
    }
    if (const auto version = std::to_integer<unsigned>(frame[layout::kVersion]);
        version != kProtocolVersion) {
        return refuse(Refusal::other_version,
                      fmt::format("the peer speaks version {}, this program {}: update the older one",
                                  version, kProtocolVersion));
    }
    if (const ByteView other = frame.subspan(layout::kRun, sizeof(Hash)); !std::ranges::equal(other, run)) {
        return refuse(Refusal::other_run,
                      fmt::format("{}, this one is {}", to_hex(other.first(4)), to_hex(run).substr(0, 8)));
    }
    PeerId sender;
    std::ranges::copy(frame.subspan(layout::kSender, sizeof(PeerId)), sender.key.begin());
    if (connection && *connection != sender) {
        return refuse(Refusal::other_sender, fmt::format("{} speaks over the connection of {}",
                                                         sender.short_name(), connection->short_name()));
    }
    Signature signature;
    std::ranges::copy(frame.subspan(layout::kSignature, sizeof(Signature)), signature.begin());
    if (!verify(sender, context::kMessage, layout::signed_part(frame), signature)) {
        return refuse(Refusal::bad_signature, "altered, or not from " + sender.short_name());
    }
    return parse(sender, frame.subspan(layout::kBody));
}

}  // namespace Atoll::gossip

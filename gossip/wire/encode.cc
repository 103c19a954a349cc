#include <capnp/message.h>
#include <capnp/serialize.h>
#include <fmt/format.h>

#include <algorithm>

#include "gossip/limits.h"
#include "gossip/validate.h"
#include "gossip/wire.h"
#include "gossip/wire/layout.h"
#include "gossip/wire/message.capnp.h"

namespace Atoll::gossip {

namespace {
capnp::Data::Reader data_of(ByteView bytes) {
    return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

template <typename List>
void fill(List list, const std::vector<Bytes>& values) {
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, data_of(values[i]));
}

void fill(capnp::List<wire::SharePart>::Builder list, const std::vector<SharePart>& parts) {
    for (unsigned i = 0; i < list.size(); ++i) {
        list[i].setCodec(parts[i].codec);
        list[i].setCount(parts[i].count);
        list[i].setBytes(parts[i].bytes);
    }
}

// One overload a kind on the wire.
void write(wire::Envelope::Builder envelope, const Heartbeat& beat) {
    auto out = envelope.initHeartbeat();
    out.setIncarnation(beat.incarnation);
    out.setName(beat.name.c_str());
    out.setAddress(beat.address.c_str());
    out.setRegion(beat.region.c_str());
    out.setRound(beat.round);
    out.setStep(beat.step);
    out.setTokens(beat.tokens);
    out.setLoss(beat.loss);
    out.setCertificate(data_of(beat.certificate));
    out.setStatement(data_of(beat.statement));
    fill(out.initOthers(static_cast<unsigned>(beat.others.size())), beat.others);
}
void write(wire::Envelope::Builder envelope, const Leave& leave) {
    envelope.initLeave().setReason(leave.reason.c_str());
}
void write(wire::Envelope::Builder envelope, const JoinRequest& request) {
    envelope.initJoinRequest().setRecord(data_of(request.record));
}
void write(wire::Envelope::Builder envelope, const JoinReply& reply) {
    auto out = envelope.initJoinReply();
    out.setAccepted(reply.accepted);
    out.setReason(reply.reason.c_str());
    out.setRunConfig(reply.run_config.c_str());
    fill(out.initRecords(static_cast<unsigned>(reply.records.size())), reply.records);
}
void write(wire::Envelope::Builder envelope, const MixShare& share) {
    auto out = envelope.initMixShare();
    out.setRound(share.round);
    out.setStage(share.stage);
    out.setSequence(share.sequence);
    out.setWeight(share.weight);
    out.setDisagreement(share.disagreement);
    out.setSchedule(data_of(share.schedule));
    fill(out.initParts(static_cast<unsigned>(share.parts.size())), share.parts);
}
void write(wire::Envelope::Builder envelope, const MixReceipt& receipt) {
    auto out = envelope.initMixReceipt();
    out.setSequence(receipt.sequence);
    out.setKind(static_cast<std::uint8_t>(receipt.kind));
    out.setReason(receipt.reason.c_str());
}
void write(wire::Envelope::Builder envelope, const MixWithdraw& withdraw) {
    envelope.initMixWithdraw().setSequence(withdraw.sequence);
}
void write(wire::Envelope::Builder envelope, const MixRequest& request) {
    auto out = envelope.initMixRequest();
    out.setRound(request.round);
    out.setStage(request.stage);
}
void write(wire::Envelope::Builder envelope, const StateRequest& request) {
    auto out = envelope.initStateRequest();
    out.setManifest(request.manifest);
    out.setRound(request.round);
    out.setIndex(request.index);
}
void write(wire::Envelope::Builder envelope, const StateManifest& manifest) {
    auto out = envelope.initStateManifest();
    out.setRound(manifest.round);
    out.setBytes(manifest.bytes);
    out.setChunkBytes(manifest.chunk_bytes);
    out.setHash(data_of(manifest.hash));
}
void write(wire::Envelope::Builder envelope, const StateChunk& chunk) {
    auto out = envelope.initStateChunk();
    out.setRound(chunk.round);
    out.setIndex(chunk.index);
}
void write(wire::Envelope::Builder envelope, const StateRefusal& refusal) {
    auto out = envelope.initStateRefusal();
    out.setRound(refusal.round);
    out.setReason(refusal.reason.c_str());
}
void write(wire::Envelope::Builder envelope, const ReduceReady& ready) {
    auto out = envelope.initReduceReady();
    out.setRound(ready.round);
    out.setAttempt(ready.attempt);
    out.setInDoubt(ready.in_doubt);
    out.setBandwidth(ready.bandwidth);
    out.setParts(data_of(ready.parts));
    out.setWeight(ready.weight);
    out.setMayOwn(ready.may_own);
}
void write(wire::Envelope::Builder envelope, const ReducePlan& plan) {
    auto out = envelope.initReducePlan();
    out.setRound(plan.round);
    out.setAttempt(plan.attempt);
    auto members = out.initMembers(static_cast<unsigned>(plan.members.size()));
    for (unsigned i = 0; i < members.size(); ++i) {
        members[i].setId(data_of(plan.members[i].id.key));
        members[i].setShare(plan.members[i].share);
        members[i].setWeight(plan.members[i].weight);
    }
}
void write(wire::Envelope::Builder envelope, const ReduceChunk& chunk) {
    auto out = envelope.initReduceChunk();
    out.setRound(chunk.round);
    out.setAttempt(chunk.attempt);
    out.setPiece(chunk.piece);
    out.setResult(chunk.result);
}
void write(wire::Envelope::Builder envelope, const ReduceRequest& request) {
    auto out = envelope.initReduceRequest();
    out.setRound(request.round);
    out.setAttempt(request.attempt);
    out.setResult(request.result);
    auto pieces = out.initPieces(static_cast<unsigned>(request.pieces.size()));
    for (unsigned i = 0; i < pieces.size(); ++i) pieces.set(i, request.pieces[i]);
}
void write(wire::Envelope::Builder envelope, const ReduceVote& vote) {
    auto out = envelope.initReduceVote();
    out.setRound(vote.round);
    out.setAttempt(vote.attempt);
    out.setVerdict(static_cast<std::uint8_t>(vote.verdict));
    out.setHash(data_of(vote.hash));
    out.setCulprit(data_of(vote.culprit.key));
    out.setReason(vote.reason.c_str());
}
void write(wire::Envelope::Builder envelope, const StarUpload& upload) {
    auto out = envelope.initStarUpload();
    out.setRound(upload.round);
    out.setSequence(upload.sequence);
    out.setTokens(upload.tokens);
    out.setLeaving(upload.leaving);
    fill(out.initParts(static_cast<unsigned>(upload.parts.size())), upload.parts);
}
void write(wire::Envelope::Builder envelope, const StarDownload& download) {
    auto out = envelope.initStarDownload();
    out.setRound(download.round);
    out.setReceived(download.received);
    out.setDecided(download.decided);
    out.setVerdict(static_cast<std::uint8_t>(download.verdict));
    out.setMembers(download.members);
    fill(out.initParts(static_cast<unsigned>(download.parts.size())), download.parts);
}
void write(wire::Envelope::Builder envelope, const StarHello& hello) {
    auto out = envelope.initStarHello();
    out.setRound(hello.round);
    out.setBirth(hello.birth);
    out.setParameters(hello.parameters);
    out.setUnixTime(hello.unix_time);
}
void write(wire::Envelope::Builder envelope, const ReduceTotal& total) {
    auto out = envelope.initReduceTotal();
    out.setRound(total.round);
    out.setAttempt(total.attempt);
    out.setValue(total.value);
}
// Node-local kinds: validate() has refused them.
template <typename Local>
void write(wire::Envelope::Builder, const Local&) {}
}  // namespace

Result<Bytes> encode_message(const Identity& sender, const Hash& run, std::uint64_t sequence,
                             const Body& body, const PayloadNote& payload) {
    ATOLL_TRY(validate(body, payload.bytes));
    capnp::MallocMessageBuilder message;
    auto envelope = message.initRoot<wire::Envelope>();
    envelope.setSequence(sequence);
    envelope.setPayloadBytes(payload.bytes);
    if (payload.hash) envelope.setPayloadHash(data_of(*payload.hash));
    std::visit([&](const auto& kind) { write(envelope, kind); }, body);
    const kj::Array<capnp::word> words = capnp::messageToFlatArray(message);
    const ByteView serialised = std::as_bytes(std::span(words.asBytes().begin(), words.asBytes().size()));

    Bytes frame(layout::kBody + serialised.size());
    if (frame.size() > kFrameBytesMax) {
        return Error{ErrorCode::invalid, fmt::format("{} of {} bytes does not fit into a frame of {}",
                                                     kind_name(body), frame.size(), kFrameBytesMax)};
    }
    std::ranges::copy(layout::kMagic, frame.begin());
    frame[layout::kVersion] = std::byte{kProtocolVersion};
    std::ranges::copy(run, frame.begin() + layout::kRun);
    std::ranges::copy(sender.id().key, frame.begin() + layout::kSender);
    std::ranges::copy(serialised, frame.begin() + layout::kBody);
    const Signature signature = sender.sign(context::kMessage, layout::signed_part(frame));
    std::ranges::copy(signature, frame.begin() + layout::kSignature);
    return frame;
}

}  // namespace Atoll::gossip

// One well-formed message of every kind on the wire, and the payload size each announces.
#pragma once

#include <vector>

#include "gossip/message.h"
#include "tests/gossip/trust_fixture.h"

namespace Atoll::gossip::testing {

struct Sample {
    Body body;
    std::uint64_t payload_bytes = 0;
};

inline std::vector<Sample> message_samples() {
    const TestRun run;
    const Identity member = identity_named("member");
    const MemberRecord record =
        make_member_record(member, run.certificate(member.id()), "ada", "tcp://192.0.2.7:9000", 42, "north");
    const Hash hash = blake2b(as_byte_view("something"));
    return {
        {Heartbeat{.incarnation = 42,
                   .name = "ada",
                   .address = "tcp://192.0.2.7:9000",
                   .round = 7,
                   .step = 350,
                   .tokens = 1'000'000,
                   .loss = 2.5,
                   .certificate = record.certificate.encode(),
                   .region = record.region,
                   .statement = record.signature,
                   .others = {record.encode(), record.encode()}}},
        {Leave{"done"}},
        {MixShare{.round = 7,
                  .stage = 1,
                  .sequence = 99,
                  .weight = 0.5,
                  .schedule = hash,
                  .parts = {{3, 1000, 1063}, {0, 10, 40}}},
         1103},
        {MixReceipt{99, ReceiptKind::refused, "another schedule"}},
        {MixWithdraw{99}},
        {MixRequest{7, 1}},
        {StateRequest{false, 7, 12}},
        {StateManifest{7, (5ULL << 20U) + 1, 1U << 20U, hash}, 6 * 32},
        {StateChunk{7, 12}, 1U << 20U},
        {StateRefusal{7, "round 7 is gone, newest is 9"}},
        {JoinRequest{record.encode()}},
        {JoinReply{true, "", "[run]\nname = \"atoll\"\n", {record.encode()}}},
        {ReduceReady{7, 1, true, 1e8, hash, 4096, false}},
        {ReducePlan{7, 1, {{PeerId{}, 1U << 19U}, {member.id(), 1U << 19U, 0}}}},
        {ReduceChunk{7, 1, 12, true}, 1U << 20U},
        {ReduceRequest{7, 1, false, {3, 4, 9}}},
        {ReduceVote{7, 1, ReduceVerdict::failed, hash, member.id(), "sent nothing"}},
        {ReduceTotal{7, 1, 2.5}},
        {StarUpload{7, 1'700'000'000'000'001, 4096, false, {{2, 1000, 1008}}}, 1008},
        {StarDownload{8, 12, 11, ReceiptKind::refused, 5, {{0, 10, 40}}}, 40},
        {StarHello{8, 1'700'000'000'000'000, 1000, 1.7e9}},
    };
}

}  // namespace Atoll::gossip::testing

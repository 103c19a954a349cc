#include "gossip/wire.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "gossip/limits.h"
#include "gossip/validate.h"
#include "gossip/wire/layout.h"
#include "tests/gossip/message_samples.h"

namespace Atoll::gossip {
namespace {

using testing::identity_named;
using testing::message_samples;
using testing::Sample;
using testing::TestRun;

const TestRun kRun;
const Identity kSender = identity_named("member");

Bytes encode(const Body& body, std::uint64_t payload_bytes = 0, std::uint64_t sequence = 5) {
    const auto frame = encode_message(kSender, kRun.id, sequence, body, {payload_bytes, std::nullopt});
    EXPECT_TRUE(frame.ok()) << frame.error().message;
    return frame.ok() ? *frame : Bytes{};
}

Decoded decode(ByteView frame) { return decode_message(frame, kRun.id, kSender.id()); }

// A member can sign whatever it likes: tests of what lies behind the signature sign the damaged frame again.
void sign_again(Bytes& frame) {
    std::ranges::copy(kSender.sign(context::kMessage, layout::signed_part(frame)),
                      frame.begin() + layout::kSignature);
}

void expect_refused(const Decoded& decoded, Refusal refusal) {
    ASSERT_FALSE(decoded.envelope.has_value());
    EXPECT_EQ(refusal_name(decoded.refusal), refusal_name(refusal)) << decoded.reason;
    EXPECT_FALSE(decoded.reason.empty());
}

TEST(Wire, Every_kind_comes_back_to_the_byte) {
    // Encoding is a pure function of the fields, so equal frames mean equal fields.
    std::size_t kinds = 0;
    for (const Sample& sample : message_samples()) {
        const Hash hash = blake2b(as_byte_view("payload"));
        const auto frame = encode_message(kSender, kRun.id, 77, sample.body, {sample.payload_bytes, hash});
        ASSERT_TRUE(frame.ok()) << frame.error().message;
        const Decoded decoded = decode(*frame);
        ASSERT_TRUE(decoded.envelope) << decoded.reason;
        EXPECT_EQ(decoded.envelope->sender, kSender.id());
        EXPECT_EQ(decoded.envelope->sequence, 77U);
        EXPECT_EQ(decoded.envelope->payload.bytes, sample.payload_bytes);
        EXPECT_EQ(decoded.envelope->payload.hash, hash);
        ASSERT_EQ(decoded.envelope->body.index(), sample.body.index());
        EXPECT_EQ(
            encode_message(kSender, kRun.id, 77, decoded.envelope->body, decoded.envelope->payload).value(),
            *frame)
            << kind_name(sample.body);
        EXPECT_EQ(sample.body.index(), kinds++) << "a kind is missing from the samples";
    }
    EXPECT_EQ(kinds + 3, std::variant_size_v<Body>) << "all but the three node-local kinds";
}

TEST(Wire, Fields_arrive_where_they_were_put) {
    const auto samples = message_samples();
    const auto beat = std::get<Heartbeat>(decode(encode(samples[0].body)).envelope->body);
    EXPECT_EQ(beat.incarnation, 42U);
    EXPECT_EQ(beat.name, "ada");
    EXPECT_EQ(beat.address, "tcp://192.0.2.7:9000");
    EXPECT_EQ(beat.round, 7U);
    EXPECT_EQ(beat.step, 350U);
    EXPECT_EQ(beat.tokens, 1'000'000U);
    EXPECT_EQ(beat.loss, 2.5);
    EXPECT_EQ(beat.others, std::get<Heartbeat>(samples[0].body).others);
    const auto share =
        std::get<MixShare>(decode(encode(samples[2].body, samples[2].payload_bytes)).envelope->body);
    EXPECT_EQ(share.stage, 1U);
    EXPECT_EQ(share.sequence, 99U);
    EXPECT_EQ(share.weight, 0.5);
    ASSERT_EQ(share.parts.size(), 2U);
    EXPECT_EQ(share.parts[0].codec, 3);
    EXPECT_EQ(share.parts[0].bytes, 1063U);
    const auto receipt = std::get<MixReceipt>(decode(encode(samples[3].body)).envelope->body);
    EXPECT_EQ(receipt.kind, ReceiptKind::refused);
    EXPECT_EQ(receipt.reason, "another schedule");
}

TEST(Wire, Every_flipped_bit_is_refused) {
    const Bytes frame = encode(message_samples()[3].body);
    for (std::size_t i = 0; i < frame.size() * 8; ++i) {
        Bytes flipped = frame;
        flipped[i / 8] ^= std::byte{1} << (i % 8);
        const Decoded decoded = decode_message(flipped, kRun.id, std::nullopt);
        EXPECT_FALSE(decoded.envelope) << i;
        if (i / 8 >= layout::kSender) expect_refused(decoded, Refusal::bad_signature);
    }
}

TEST(Wire, Every_truncation_is_refused) {
    const Bytes frame = encode(message_samples()[0].body);
    for (std::size_t size = 0; size < frame.size(); ++size) {
        EXPECT_FALSE(decode(ByteView(frame).first(size)).envelope) << size;
        if (size < layout::kBody) continue;
        Bytes shorter(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size));
        sign_again(shorter);
        expect_refused(decode(shorter), Refusal::malformed);
    }
}

TEST(Wire, Says_what_is_wrong_with_a_foreign_frame) {
    const Bytes frame = encode(Leave{"bye"});
    expect_refused(decode(Bytes(kFrameBytesMax + 1)), Refusal::too_large);
    expect_refused(decode(Bytes(10)), Refusal::too_short);
    expect_refused(decode(Bytes(200)), Refusal::not_ours);
    expect_refused(decode_message(frame, blake2b(as_byte_view("other run")), kSender.id()),
                   Refusal::other_run);
    expect_refused(decode_message(frame, kRun.id, identity_named("other").id()), Refusal::other_sender);
    Bytes newer = frame;
    newer[layout::kVersion] = std::byte{kProtocolVersion + 1};
    sign_again(newer);
    expect_refused(decode(newer), Refusal::other_version);
}

TEST(Wire, A_kind_of_a_newer_program_is_refused_as_unknown) {
    // The union's tag is the only 16-bit number of value 1 (leave) in this envelope: find it and make it 900.
    Bytes frame = encode(Leave{"bye"}, 0, 0);
    int found = 0;
    for (std::size_t i = layout::kBody + 16; i + 1 < frame.size(); i += 2) {
        if (frame[i] != std::byte{1} || frame[i + 1] != std::byte{0}) continue;
        Bytes newer = frame;
        newer[i] = std::byte{0x84};
        newer[i + 1] = std::byte{0x03};
        sign_again(newer);
        const Decoded decoded = decode(newer);
        ASSERT_FALSE(decoded.envelope);
        if (decoded.refusal == Refusal::unknown_kind) ++found;
    }
    EXPECT_EQ(found, 1);
}

TEST(Wire, Content_that_no_sane_peer_means_is_refused_on_both_sides) {
    const auto bad = [](Body body, std::uint64_t payload_bytes = 0) {
        const auto frame = encode_message(kSender, kRun.id, 1, body, {payload_bytes, std::nullopt});
        ASSERT_FALSE(frame.ok()) << kind_name(body);
        EXPECT_NE(frame.error().message.find(kind_name(body)), std::string::npos) << frame.error().message;
    };
    const auto samples = message_samples();
    auto beat = std::get<Heartbeat>(samples[0].body);
    const auto with = [](auto value, auto change) {
        change(value);
        return value;
    };
    bad(with(beat, [](Heartbeat& b) { b.name = ""; }));
    bad(with(beat, [](Heartbeat& b) { b.name = "a\x1b[2J"; }));
    bad(with(beat, [](Heartbeat& b) { b.name.assign(kNameBytesMax + 1, 'a'); }));
    bad(with(beat, [](Heartbeat& b) { b.region = "north\n"; }));
    bad(with(beat, [](Heartbeat& b) { b.region.assign(kRegionBytesMax + 1, 'r'); }));
    EXPECT_TRUE(validate(with(beat, [](Heartbeat& b) { b.region.assign(kRegionBytesMax, 'r'); }), 0).ok());
    bad(with(beat, [](Heartbeat& b) { b.loss = std::nan(""); }));
    bad(with(beat, [](Heartbeat& b) { b.certificate.pop_back(); }));
    bad(with(beat, [](Heartbeat& b) { b.others.assign(kRecordsPerHeartbeatMax + 1, Bytes(8)); }));
    bad(Leave{std::string(kReasonBytesMax + 1, 'x')});
    bad(Leave{"payload"}, 1);
    const auto share = std::get<MixShare>(samples[2].body);
    bad(with(share, [](MixShare& s) { s.weight = std::numeric_limits<double>::quiet_NaN(); }), 1103);
    bad(with(share, [](MixShare& s) { s.weight = std::numeric_limits<double>::infinity(); }), 1103);
    bad(with(share, [](MixShare& s) { s.weight = -0.1; }), 1103);
    bad(share, 1102);
    bad(with(share, [](MixShare& s) { s.parts.resize(kSharePartsMax + 1); }), 1103);
    bad(with(share, [](MixShare& s) { s.parts[0].bytes = ~0ULL; }), 39);
    bad(MixReceipt{1, static_cast<ReceiptKind>(9), ""});
    bad(StateChunk{1, 1}, kStateChunkBytesMax + 1);
    bad(StateManifest{1, 100, 0, {}}, 32);
    bad(StateManifest{1, 100, 10, {}}, 32);
    bad(JoinReply{false, "", std::string(kRunConfigBytesMax + 1, 'x'), {}});
    bad(ViewChanged{});
    bad(ProgressMade{});
    bad(StatePublished{});
}

TEST(Wire, A_signed_weight_that_is_no_number_is_refused_by_the_receiver) {
    // The sender's own check would stop it, so put the bits of NaN over those of the weight in the frame.
    const Sample sample = message_samples()[2];
    Bytes frame = encode(sample.body, sample.payload_bytes);
    const std::array<std::byte, 8> half{std::byte{0}, std::byte{0}, std::byte{0},    std::byte{0},
                                        std::byte{0}, std::byte{0}, std::byte{0xe0}, std::byte{0x3f}};
    const auto at = std::ranges::search(frame, half);
    ASSERT_FALSE(at.empty());
    at.begin()[7] = std::byte{0x7f};
    at.begin()[6] = std::byte{0xf8};
    sign_again(frame);
    expect_refused(decode(frame), Refusal::bad_content);
}

TEST(Wire, The_largest_allowed_bodies_fit_into_a_frame) {
    auto beat = std::get<Heartbeat>(message_samples()[0].body);
    beat.others.assign(kRecordsPerHeartbeatMax, Bytes(kMemberRecordBytesMax));
    EXPECT_TRUE(decode(encode(beat)).envelope);
    const JoinReply reply{true, std::string(kReasonBytesMax, 'r'), std::string(kRunConfigBytesMax, 'c'),
                          std::vector<Bytes>(kRecordsPerJoinReplyMax, Bytes(kMemberRecordBytesMax))};
    EXPECT_TRUE(decode(encode(reply)).envelope);
    MixShare share;
    share.parts.assign(kSharePartsMax, {1, 2, 3});
    EXPECT_TRUE(decode(encode(share, 3 * kSharePartsMax)).envelope);
}

TEST(Wire, Thousands_of_mutations_by_a_malicious_member_do_no_harm) {
    Rng rng(2024);
    const auto samples = message_samples();
    std::vector<Bytes> frames;
    for (const Sample& sample : samples) frames.push_back(encode(sample.body, sample.payload_bytes));
    std::size_t accepted = 0;
    for (int trial = 0; trial < 8000; ++trial) {
        Bytes frame = frames[rng.below(frames.size())];
        const std::uint64_t mutations = 1 + rng.below(6);
        for (std::uint64_t i = 0; i < mutations; ++i) {
            const std::size_t at = layout::kBody + rng.below(frame.size() - layout::kBody);
            frame[at] = rng.below(2) == 0 ? static_cast<std::byte>(rng.bits32())
                                          : frame[at] ^ (std::byte{1} << rng.below(8));
        }
        if (rng.below(4) == 0) frame.resize(layout::kBody + rng.below(frame.size() - layout::kBody + 1));
        sign_again(frame);
        const Decoded decoded = decode(frame);
        if (!decoded.envelope) {
            EXPECT_FALSE(decoded.reason.empty());
            continue;
        }
        ++accepted;  // it hit padding or a number: still a message that passes our own checks
        EXPECT_TRUE(validate(decoded.envelope->body, decoded.envelope->payload.bytes).ok());
    }
    EXPECT_GT(accepted, 100U);
    EXPECT_LT(accepted, 7900U);
}

}  // namespace
}  // namespace Atoll::gossip

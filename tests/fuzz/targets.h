// What the fuzzers feed, and the corpus test replays. Each aborts if a promise is broken.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "base/check.h"
#include "gossip/address.h"
#include "gossip/base64.h"
#include "gossip/certificate.h"
#include "gossip/codec/codec.h"
#include "gossip/validate.h"
#include "gossip/wire.h"
#include "gossip/wire/layout.h"

namespace Atoll::fuzz {

inline std::string_view text_of(ByteView bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// An accepted address has one canonical form.
inline void address(ByteView bytes) {
    const auto parsed = gossip::parse_address(text_of(bytes));
    if (parsed.ok()) ATOLL_CHECK(gossip::parse_address(parsed->text()).value() == *parsed);
}

// An accepted invite is written as it was read.
inline void invite(ByteView bytes) {
    const std::string text = "atoll://" + gossip::to_base64url(bytes);
    const auto parsed = gossip::parse_invite(text);
    if (parsed.ok()) ATOLL_CHECK(parsed->text() == text);
    (void)gossip::parse_invite(text_of(bytes));
}

inline void member_record(ByteView bytes) {
    const auto record = gossip::MemberRecord::decode(bytes);
    if (record.ok()) {
        const Bytes again = record->encode();
        ATOLL_CHECK(std::ranges::equal(again, bytes));
    }
}

// The Cap'n Proto part of an envelope, signed: what a member gone wrong can send. What is accepted passes our
// own checks and can be sent on.
inline void envelope(ByteView body) {
    static const gossip::Identity sender = gossip::Identity::from_seed(blake2b(as_byte_view("fuzzer")));
    static const Hash run{};
    Bytes frame(gossip::layout::kBody);
    std::ranges::copy(gossip::layout::kMagic, frame.begin());
    frame[gossip::layout::kVersion] = std::byte{gossip::kProtocolVersion};
    std::ranges::copy(sender.id().key, frame.begin() + gossip::layout::kSender);
    frame.insert(frame.end(), body.begin(), body.end());
    const auto signature = sender.sign(gossip::context::kMessage, gossip::layout::signed_part(frame));
    std::ranges::copy(signature, frame.begin() + gossip::layout::kSignature);
    const gossip::Decoded decoded = gossip::decode_message(frame, run, sender.id());
    ATOLL_CHECK(decoded.envelope.has_value() || !decoded.reason.empty());
    if (!decoded.envelope) return;
    const gossip::Envelope& good = *decoded.envelope;
    ATOLL_CHECK(gossip::validate(good.body, good.payload.bytes).ok());
    ATOLL_CHECK(gossip::encode_message(sender, run, good.sequence, good.body, good.payload).ok());
}

// Two bytes choose the number of values, one the codec, the rest is its payload, at its right length or not.
// What is accepted is finite; what is refused leaves the output alone.
inline void codec_payload(ByteView bytes) {
    if (bytes.size() < 3) return;
    const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(bytes[i]); };
    const std::size_t count = (byte(0) | byte(1) << 8U) % 10000;
    const gossip::CodecEntry& entry = gossip::codecs()[byte(2) % gossip::codecs().size()];
    const auto codec = entry.make({});
    Bytes payload(bytes.begin() + 3, bytes.end());
    // A payload that is nearly as long as it should be is made exactly so, for the fuzzer to come further.
    const std::size_t expected = codec->encoded_bytes(count);
    if (payload.size() + 64 > expected) payload.resize(expected);
    std::vector<float> out(count, 3);
    const bool accepted = codec->decode(payload, out, 1, false).ok();
    for (const float value : out) ATOLL_CHECK(accepted ? std::isfinite(value) : value == 3);
}

}  // namespace Atoll::fuzz

// Messages as bytes: an envelope that is authenticated before it is parsed (docs/reference/wire.md).
//
//   magic "ATL" 3, protocol version 1, zero 4, run id 32, sender 32, signature 64, then a Cap'n Proto
//   Envelope
//
// The signature (Ed25519, by the sender) covers every other byte as sent.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "gossip/identity.h"
#include "gossip/message.h"

namespace Atoll::gossip {

inline constexpr std::uint8_t kProtocolVersion = 1;

// What an envelope says of its payload, which travels in frames of its own.
struct PayloadNote {
    std::uint64_t bytes = 0;
    // Tree hash of the payload (kernels/hash/tree_hash.h). Absent: nothing but the connection (CURVE's
    // authentication of every frame, with the sender's own key) ties the payload to its sender; enough
    // between two peers, no proof towards a third.
    std::optional<Hash> hash;
};

struct Envelope {
    PeerId sender;
    std::uint64_t sequence = 0;
    PayloadNote payload;
    Body body;
};

// Errors: invalid: validate() refuses it, or it does not fit into a frame. Thread-safe.
[[nodiscard]] Result<Bytes> encode_message(const Identity& sender, const Hash& run, std::uint64_t sequence,
                                           const Body& body, const PayloadNote& payload = {});

// Why a frame was refused; metrics count by it.
enum class Refusal : std::uint8_t {
    too_large,      // more than kFrameBytesMax
    too_short,      // cut off within the fixed part
    not_ours,       // no magic: some other program
    other_version,  // a protocol version that this program does not speak
    other_run,      // a run id that is not ours
    other_sender,   // not the peer whose key opened the connection
    bad_signature,  // altered, or not signed by the sender it names
    malformed,      // not a Cap'n Proto message within our limits
    unknown_kind,   // of a newer program: ignored
    bad_content,    // validate() refuses it
    replayed,       // its sequence number was seen before (gossip/replay_window.h; counted by the host)
};
[[nodiscard]] std::string_view refusal_name(Refusal refusal);

struct Decoded {
    std::optional<Envelope> envelope;
    Refusal refusal{};   // if there is no envelope
    std::string reason;  // in words
};

// Allocates at most the frame's size before the signature has been checked. `connection`: the peer that the
// connection has been proven to end at; absent while a newcomer connects with its invite's token.
[[nodiscard]] Decoded decode_message(ByteView frame, const Hash& run,
                                     const std::optional<PeerId>& connection);

// A sender's first sequence number: above every one of its earlier incarnations as long as those sent fewer
// than 2^32 messages. Incarnations are Unix times in seconds, so this is good until 2106.
[[nodiscard]] constexpr std::uint64_t first_sequence(std::uint64_t incarnation) { return incarnation << 32U; }

}  // namespace Atoll::gossip

// What peers say to each other, as plain structs. A message is a small body (Cap'n Proto on the wire,
// gossip/wire) and an optional bulk payload that travels in frames of its own and is never copied into the
// body.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"
#include "gossip/peer_id.h"
#include "gossip/view.h"

namespace Atoll::gossip {

// A mailbox of the receiving node; each is drained by one activity.
enum class Topic {
    membership,  // heartbeats, joins, leaves: the membership activity
    mixing,      // averaging: the algorithm's own activity
    state,       // requests for the current state: the state server's activity
    transfer,    // replies to our own state requests: whoever fetches
    join,        // replies to our own request to join: the command that joins
};

// ---- membership ----
struct Heartbeat {
    std::uint64_t incarnation = 0;  // rises with every start of the sender
    std::string name;               // human name of the node
    std::string address;            // where it can be reached, "tcp://host:port"
    std::uint64_t round = 0;
    std::uint64_t step = 0;
    std::uint64_t tokens = 0;
    double loss = 0;
    Bytes certificate;   // the sender's own, encoded
    std::string region;  // label of the region the sender is in; empty: none
    // The sender's signature over certificate, name, address, region and incarnation: together they are its
    // MemberRecord (gossip/certificate.h), which we may pass on.
    std::array<std::byte, 64> statement{};
    std::vector<Bytes> others;  // encoded MemberRecords of other members (bounded)
};
struct Leave {
    std::string reason;
};
// From a newcomer, over a connection that only its invite's token has opened yet.
struct JoinRequest {
    Bytes record;  // its own MemberRecord, encoded
};
struct JoinReply {
    bool accepted = false;
    std::string reason;          // why not, in words
    std::string run_config;      // canonical text; its hash is the run id of the invite
    std::vector<Bytes> records;  // encoded MemberRecords, the sender's own first
};

// ---- mixing (push-sum) ----
struct SharePart {
    std::uint8_t codec = 0;   // wire id
    std::uint64_t count = 0;  // values
    std::uint64_t bytes = 0;  // of the payload, parts in order
};
struct MixShare {
    std::uint64_t round = 0;
    std::uint32_t stage = 0;     // gossip round within the averaging
    std::uint64_t sequence = 0;  // unique per sender and incarnation: duplicates are recognised by it
    double weight = 0;           // push-sum weight carried
    double disagreement = 0;     // the largest that the sender has heard of (push-sum with a tolerance)
    Hash schedule{};             // the sender's schedule_digest (gossip/topology/digest.h)
    std::vector<SharePart> parts;
};
enum class ReceiptKind : std::uint8_t { accepted = 0, refused = 1, withdrawn = 2 };
struct MixReceipt {
    std::uint64_t sequence = 0;
    ReceiptKind kind = ReceiptKind::accepted;
    std::string reason;
};
// "If you have not taken share `sequence`, never take it": answered by a receipt (accepted or withdrawn).
struct MixWithdraw {
    std::uint64_t sequence = 0;
};
// "Your share of this stage has not come: if you have sent it, send it again."
struct MixRequest {
    std::uint64_t round = 0;
    std::uint32_t stage = 0;
};

// ---- mixing (all-reduce, gossip/averaging/all_reduce.h) ----
struct ReduceReady {  // to the coordinator
    std::uint64_t round = 0;
    std::uint32_t attempt = 0;
    bool in_doubt = false;  // has voted for the attempt before and does not know what became of it
    double bandwidth = 0;   // bytes per second that it has measured of itself; 0: not known
    Hash parts{};           // digest of the number, sizes and codecs of its parts
    // With a step of the owners (gossip/averaging/owner_step.h).
    std::uint32_t weight = 1;  // of its contribution
    bool may_own = true;
};
struct ReduceMember {
    PeerId id;
    std::uint32_t share = 1;   // of the vector, in units of 1 / kReduceShareUnits; 0: owns nothing
    std::uint32_t weight = 1;  // of its contribution; 0: it sends none
};
struct ReducePlan {  // of the coordinator: who takes part, in the order of summation
    std::uint64_t round = 0;
    std::uint32_t attempt = 0;
    std::vector<ReduceMember> members;
};
struct ReduceChunk {  // payload: one encoded piece
    std::uint64_t round = 0;
    std::uint32_t attempt = 0;
    std::uint32_t piece = 0;
    bool result = false;  // of the owner; else a contribution to it
};
struct ReduceTotal {  // of an owner, to all: its part of the number that all owners need for their step
    std::uint64_t round = 0;
    std::uint32_t attempt = 0;
    double value = 0;
};
// Asks for pieces that have not come. Without pieces: "I am here, but do not have what you ask for yet".
struct ReduceRequest {
    std::uint64_t round = 0;
    std::uint32_t attempt = 0;
    bool result = false;
    std::vector<std::uint32_t> pieces;
};
enum class ReduceVerdict : std::uint8_t { done = 0, committed = 1, acknowledged = 2, failed = 3 };
struct ReduceVote {
    std::uint64_t round = 0;
    std::uint32_t attempt = 0;
    ReduceVerdict verdict = ReduceVerdict::done;
    Hash hash{};         // of the whole result; done and committed
    PeerId culprit;      // failed
    std::string reason;  // failed
};

// ---- around a server (gossip/averaging/star.h, federation/federated) ----
struct StarUpload {  // to the server; payload: the encoded parts
    std::uint64_t round = 0;
    std::uint64_t sequence = 0;  // rises with every upload of the sender; the server decides about each once
    std::uint64_t tokens = 0;    // that were trained on for it
    bool leaving = false;        // the sender's last: the server forgets it afterwards
    std::vector<SharePart> parts;
};
struct StarDownload {  // of the server; payload: the encoded parts. Without parts: there is nothing to do
    std::uint64_t round = 0;
    std::uint64_t received = 0;  // the newest of the receiver's uploads that has come
    std::uint64_t decided = 0;   // the newest that has been decided, and how
    ReceiptKind verdict = ReceiptKind::accepted;
    std::uint64_t members = 0;  // of the mean; clients of the run
    std::vector<SharePart> parts;
};
struct StarHello {            // of a client that waits, to its server
    std::uint64_t round = 0;  // the newest it has heard of
    std::uint64_t birth = 0;  // of its state, microseconds since 1970: uploads of it have higher sequences
    std::uint64_t parameters = 0;  // length of its vector
    double unix_time = 0;          // its clock
};

// ---- state transfer ----
struct StateRequest {
    bool manifest = true;  // else chunk `index` of the state of `round`
    std::uint64_t round = 0;
    std::uint32_t index = 0;
};
struct StateManifest {  // payload: the chunk hashes, 32 bytes each
    std::uint64_t round = 0;
    std::uint64_t bytes = 0;  // of the whole state
    std::uint32_t chunk_bytes = 0;
    Hash hash{};  // of the whole state
};
struct StateChunk {  // payload: the chunk
    std::uint64_t round = 0;
    std::uint32_t index = 0;
};
struct StateRefusal {
    std::uint64_t round = 0;
    std::string reason;  // "no state yet", "round 12 is gone, newest is 14"
};

// ---- within one node only: never on the wire (encode() refuses them) ----
struct ViewChanged {  // membership -> algorithm
    View view;
};
struct ProgressMade {  // algorithm -> membership, for the next heartbeat
    std::uint64_t round = 0;
    std::uint64_t step = 0;
    std::uint64_t tokens = 0;
    double loss = 0;
};
struct StatePublished {  // algorithm -> state server; payload: the encoded state
    std::uint64_t round = 0;
};

using Body = std::variant<Heartbeat, Leave, MixShare, MixReceipt, MixWithdraw, MixRequest, StateRequest,
                          StateManifest, StateChunk, StateRefusal, JoinRequest, JoinReply, ReduceReady,
                          ReducePlan, ReduceChunk, ReduceRequest, ReduceVote, ReduceTotal, StarUpload,
                          StarDownload, StarHello, ViewChanged, ProgressMade, StatePublished>;

struct Message {
    PeerId sender;  // proven by the host on receipt; filled in by the host on sending
    Body body;
    SharedBytes payload;
};

[[nodiscard]] Topic topic_of(const Body& body);
// "MixShare", for logs and metrics.
[[nodiscard]] std::string_view kind_name(const Body& body);

}  // namespace Atoll::gossip

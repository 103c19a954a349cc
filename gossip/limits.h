// Every bound on what peers may send, with its arithmetic. Checked before anything is parsed or allocated.
#pragma once

#include <cstddef>
#include <cstdint>

namespace Atoll::gossip {

// ---- envelopes (gossip/wire.h) ----
// Room for the largest body: a JoinReply of 16 KiB configuration and 64 records of at most 0.7 KiB is 61 KiB.
inline constexpr std::size_t kFrameBytesMax = 64U << 10U;
// A frame's body has at most 8 Ki words; twice that lets every field be read once and strings be measured.
inline constexpr std::uint64_t kTraversalWordsMax = 2 * kFrameBytesMax / 8;
// Envelope, body, list, element, its list: 5 levels; the rest is for growth.
inline constexpr int kNestingMax = 16;

// ---- texts ----
inline constexpr std::size_t kNameBytesMax = 64;
inline constexpr std::size_t kRegionBytesMax = 32;
inline constexpr std::size_t kReasonBytesMax = 512;
inline constexpr std::size_t kRunConfigBytesMax = 16U << 10U;

// ---- lists ----
// certificate 310 + incarnation 8 + name 1 + 64 + address 1 + 128 + region 1 + 32 + signature 64 = 609,
// rounded up.
inline constexpr std::size_t kMemberRecordBytesMax = 640;
inline constexpr std::size_t kRecordsPerHeartbeatMax = 16;  // 10 KiB each second and peer at the very most
inline constexpr std::size_t kRecordsPerJoinReplyMax = 64;  // 64 x 640 = 40 KiB; heartbeats bring the others
inline constexpr std::size_t kSharePartsMax = 1024;         // 24 bytes each: 24 KiB of the frame

inline constexpr std::size_t kReduceMembersMax = 1024;  // 56 bytes each at most: 56 KiB of the frame
inline constexpr std::size_t kReduceRequestPiecesMax = 1024;
// Shards of a vector whose owners take a step: few enough that small vectors make no small messages, and a
// multiple of 2 to 6, 8, 10, 12 so that so many members own exactly as much.
inline constexpr std::size_t kOwnerShards = 120;
inline constexpr std::uint32_t kReduceShareUnits = 1U << 20U;  // a plan's shares add up to this

// ---- payloads ----
// Frames beyond 1 MiB are several times slower through ZeroMQ on loopback (fresh pages for each message).
inline constexpr std::size_t kChunkBytes = 1U << 20U;
inline constexpr std::uint64_t kShareBytesMax = 64ULL << 30U;  // 16 Gi parameters in fp32
// One piece of an all-reduce: 256 Ki values; no codec needs 16 bytes a value.
inline constexpr std::size_t kReducePieceValues = 256U << 10U;
inline constexpr std::uint64_t kReduceChunkBytesMax = 16 * kReducePieceValues;
inline constexpr std::uint64_t kStateChunkBytesMax = 16ULL << 20U;
inline constexpr std::uint64_t kStateManifestBytesMax = 32ULL << 20U;  // 1 Mi chunk hashes

// ---- members ----
inline constexpr std::size_t kMembersMax = 4096;  // known at once; 4096 x 0.6 KiB of records = 2.4 MiB

}  // namespace Atoll::gossip

# What goes over the wire between peers: the body of an envelope (docs/reference/wire.md). Only ever append: a field or
# kind keeps its number for good, a newer program's kinds are refused by an older one as unknown, and counted.
@0xd3a1f0c2b4e59687;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("Atoll::gossip::wire");

struct Envelope {
  sequence @0 :UInt64;      # rises with every message of a sender: the replay window
  payloadBytes @1 :UInt64;  # 0: no payload follows
  payloadHash @2 :Data;     # tree hash of the payload, or empty: bound to the sender by the channel alone
  union {
    heartbeat @3 :Heartbeat;
    leave @4 :Leave;
    mixShare @5 :MixShare;
    mixReceipt @6 :MixReceipt;
    mixWithdraw @7 :MixWithdraw;
    stateRequest @8 :StateRequest;
    stateManifest @9 :StateManifest;
    stateChunk @10 :StateChunk;
    stateRefusal @11 :StateRefusal;
    joinRequest @12 :JoinRequest;
    joinReply @13 :JoinReply;
    reduceReady @14 :ReduceReady;
    reducePlan @15 :ReducePlan;
    reduceChunk @16 :ReduceChunk;
    reduceRequest @17 :ReduceRequest;
    reduceVote @18 :ReduceVote;
    mixRequest @19 :MixRequest;
    starUpload @20 :StarUpload;
    starDownload @21 :StarDownload;
    starHello @22 :StarHello;
    reduceTotal @23 :ReduceTotal;
  }
}

struct Heartbeat {
  incarnation @0 :UInt64;
  name @1 :Text;
  address @2 :Text;
  round @3 :UInt64;
  step @4 :UInt64;
  tokens @5 :UInt64;
  loss @6 :Float64;
  certificate @7 :Data;
  statement @8 :Data;       # 64 bytes
  others @9 :List(Data);
  region @10 :Text;         # empty: none
}

struct Leave {
  reason @0 :Text;
}

struct JoinRequest {
  record @0 :Data;
}

struct JoinReply {
  accepted @0 :Bool;
  reason @1 :Text;
  runConfig @2 :Text;
  records @3 :List(Data);
}

struct SharePart {
  codec @0 :UInt8;
  count @1 :UInt64;
  bytes @2 :UInt64;
}

struct MixShare {
  round @0 :UInt64;
  stage @1 :UInt32;
  sequence @2 :UInt64;
  weight @3 :Float64;
  schedule @4 :Data;        # 32 bytes
  parts @5 :List(SharePart);
  disagreement @6 :Float64; # infinite: not known yet
}

struct MixReceipt {
  sequence @0 :UInt64;
  kind @1 :UInt8;
  reason @2 :Text;
}

struct MixWithdraw {
  sequence @0 :UInt64;
}

struct MixRequest {
  round @0 :UInt64;
  stage @1 :UInt32;
}

struct StateRequest {
  manifest @0 :Bool;
  round @1 :UInt64;
  index @2 :UInt32;
}

struct StateManifest {
  round @0 :UInt64;
  bytes @1 :UInt64;
  chunkBytes @2 :UInt32;
  hash @3 :Data;            # 32 bytes
}

struct StateChunk {
  round @0 :UInt64;
  index @1 :UInt32;
}

struct StateRefusal {
  round @0 :UInt64;
  reason @1 :Text;
}

struct ReduceReady {
  round @0 :UInt64;
  attempt @1 :UInt32;
  inDoubt @2 :Bool;
  bandwidth @3 :Float64;
  parts @4 :Data;           # 32 bytes
  weight @5 :UInt32 = 1;
  mayOwn @6 :Bool = true;
}

struct ReduceMember {
  id @0 :Data;              # 32 bytes
  share @1 :UInt32;
  weight @2 :UInt32 = 1;
}

struct ReducePlan {
  round @0 :UInt64;
  attempt @1 :UInt32;
  members @2 :List(ReduceMember);
}

struct ReduceChunk {
  round @0 :UInt64;
  attempt @1 :UInt32;
  piece @2 :UInt32;
  result @3 :Bool;
}

struct ReduceRequest {
  round @0 :UInt64;
  attempt @1 :UInt32;
  result @2 :Bool;
  pieces @3 :List(UInt32);
}

struct ReduceVote {
  round @0 :UInt64;
  attempt @1 :UInt32;
  verdict @2 :UInt8;
  hash @3 :Data;            # 32 bytes
  culprit @4 :Data;         # 32 bytes
  reason @5 :Text;
}

struct StarUpload {
  round @0 :UInt64;
  sequence @1 :UInt64;
  tokens @2 :UInt64;
  leaving @3 :Bool;
  parts @4 :List(SharePart);
}

struct StarDownload {
  round @0 :UInt64;
  received @1 :UInt64;
  decided @2 :UInt64;
  verdict @3 :UInt8;
  members @4 :UInt64;
  parts @5 :List(SharePart);
}

struct StarHello {
  round @0 :UInt64;
  birth @1 :UInt64;
  parameters @2 :UInt64;
  unixTime @3 :Float64;
}

struct ReduceTotal {
  round @0 :UInt64;
  attempt @1 :UInt32;
  value @2 :Float64;
}

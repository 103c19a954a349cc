// What a server knows of its clients, over restarts: their numbers, which of their uploads have been decided,
// and, where it keeps them, their tracked vectors.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "federation/algorithm/algorithm.h"
#include "federation/federated/method.h"
#include "gossip/peer_id.h"

namespace Atoll::federation {

struct ClientRecord {
    gossip::PeerId peer;
    std::uint64_t number = 0;   // in order of registration, from 0
    std::uint64_t birth = 0;    // of the state the client goes on from
    std::uint64_t decided = 0;  // its newest upload that has been decided, and how
    gossip::ReceiptKind verdict = gossip::ReceiptKind::accepted;
    std::uint64_t last_round = 0;  // in which it took part or registered
    bool forgotten = false;        // left or expired: counts for nothing until it registers again
    Attendance attendance;
    std::vector<float> memory;  // its tracked vector as the server counts it; empty: not kept

    std::vector<float> packed;  // the above, for a checkpoint

    // Not kept over restarts.
    std::uint64_t received = 0;  // its newest upload that has come
    bool silent = false;         // pushed nothing when it was to: not asked until it says hello
    double tell_again = 0;       // host time before which no model is sent to it again ...
    double patience = 0;         // ... and for how long then
};

class ClientRegistry {
  public:
    // `memory`: floats kept of each client; 0: none.
    explicit ClientRegistry(std::size_t memory) : memory_(memory) {}

    // nullptr if it is not known.
    [[nodiscard]] ClientRecord* find(const gossip::PeerId& peer);
    // Precondition: !find(peer).
    ClientRecord& add(const gossip::PeerId& peer);
    // In order of their numbers.
    [[nodiscard]] std::span<const std::unique_ptr<ClientRecord>> records() const { return records_; }
    // Those that are not forgotten.
    [[nodiscard]] std::size_t counted() const;

    // "registry.<peer>" and "memory.<peer>" (own) of every client.
    void append_to(std::vector<StateVector>& state);
    [[nodiscard]] bool reserve(std::string_view name);
    // The vectors of append_to() have been read back.
    void restored();

  private:
    std::size_t memory_;
    std::vector<std::unique_ptr<ClientRecord>> records_;
};

}  // namespace Atoll::federation

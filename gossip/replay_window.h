// Refuses messages that were seen before: a sliding window over a sender's sequence numbers (as in RFC 6479).
#pragma once

#include <array>
#include <cstdint>

namespace Atoll::gossip {

class ReplayWindow {
  public:
    // Messages of one sender overtake each other by far less (the control and the bulk lane of a connection).
    static constexpr std::uint64_t kBits = 1024;

    // True once for every number; false when it was accepted before, or lies kBits or more behind the newest.
    // A new incarnation starts at a higher number (first_sequence) and so moves the window past everything
    // old.
    [[nodiscard]] bool accept(std::uint64_t sequence);

  private:
    static constexpr std::uint64_t kWords = kBits / 64;
    std::array<std::uint64_t, kWords>
        seen_{};  // bit (sequence % kBits), valid for the kBits numbers up to newest_
    std::uint64_t newest_ = 0;
    bool any_ = false;
};

}  // namespace Atoll::gossip

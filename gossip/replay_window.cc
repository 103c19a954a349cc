#include "gossip/replay_window.h"

namespace Atoll::gossip {

bool ReplayWindow::accept(std::uint64_t sequence) {
    const auto word = [this](std::uint64_t number) -> std::uint64_t& { return seen_[number / 64 % kWords]; };
    const auto bit = [](std::uint64_t number) { return std::uint64_t{1} << (number % 64); };
    if (!any_ || sequence > newest_) {
        if (!any_ || sequence - newest_ >= kBits) {
            seen_.fill(0);
        } else {
            for (std::uint64_t skipped = newest_ + 1; skipped < sequence; ++skipped)
                word(skipped) &= ~bit(skipped);
        }
        any_ = true;
        newest_ = sequence;
        word(sequence) |= bit(sequence);
        return true;
    }
    if (newest_ - sequence >= kBits || (word(sequence) & bit(sequence)) != 0) return false;
    word(sequence) |= bit(sequence);
    return true;
}

}  // namespace Atoll::gossip

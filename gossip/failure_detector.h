// Who is believed alive, from when each peer was last heard of. Today a peer is heard of by its heartbeats
// alone; SWIM's indirect probes (Das et al. 2002) would call heard() on behalf of others and change nothing
// else.
#pragma once

#include <map>

#include "gossip/peer_id.h"

namespace Atoll::gossip {

enum class Liveness {
    unheard,  // never heard of
    alive,
    suspect,  // several heartbeats are missing; still counted on
    dead,     // silent for so long that nobody should wait for it
};

class FailureDetector {
  public:
    FailureDetector(double suspect_seconds, double dead_seconds)
        : suspect_seconds_(suspect_seconds), dead_seconds_(dead_seconds) {}

    void heard(const PeerId& peer, double now) { heard_at_[peer] = now; }
    void forget(const PeerId& peer) { heard_at_.erase(peer); }

    // Seconds since the peer was heard of. Precondition: it was.
    [[nodiscard]] double silence(const PeerId& peer, double now) const { return now - heard_at_.at(peer); }
    [[nodiscard]] Liveness state(const PeerId& peer, double now) const {
        if (!heard_at_.contains(peer)) return Liveness::unheard;
        const double seconds = silence(peer, now);
        if (seconds >= dead_seconds_) return Liveness::dead;
        return seconds >= suspect_seconds_ ? Liveness::suspect : Liveness::alive;
    }

  private:
    double suspect_seconds_;
    double dead_seconds_;
    std::map<PeerId, double> heard_at_;
};

}  // namespace Atoll::gossip

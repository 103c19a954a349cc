// How long to wait for what a peer owes before asking for it again: the retransmission timer of TCP (RFC
// 6298), which follows the waits seen and their spread, so that a slow link is not asked for what is on its
// way.
#pragma once

namespace Atoll::gossip {

class Patience {
  public:
    // `deadline_seconds`: how long anybody waits at all. Until a wait has been seen, a quarter of it.
    explicit Patience(double deadline_seconds) : deadline_(deadline_seconds) {}

    // What was owed came after `seconds`. Only of what was not asked for: an answer to a question does not
    // tell which of the two sendings it is (Karn and Partridge 1987).
    void saw(double seconds);
    // Seconds to wait before asking, having asked `times` before; doubles every time.
    [[nodiscard]] double wait(unsigned times) const;

  private:
    double deadline_;
    bool seen_ = false;
    double mean_ = 0;
    double spread_ = 0;
};

}  // namespace Atoll::gossip

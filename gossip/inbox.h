// The algorithm's side of its mailbox: mixing messages, with view changes absorbed on the way.
#pragma once

#include <optional>

#include "gossip/host.h"
#include "gossip/view.h"

namespace Atoll::gossip {

class Inbox {
  public:
    // `host` outlives the object. Until membership says otherwise the view is this node alone.
    explicit Inbox(Host& host);

    // The next mixing message or view change (already absorbed into view() when it is returned, so that a
    // waiting caller can reconsider); nothing at the deadline.
    [[nodiscard]] std::optional<Message> next(double deadline);
    [[nodiscard]] const View& view() const { return view_; }
    // Absorbs view changes until the view has `count` members. False at the deadline or when stopping. Mixing
    // messages that arrive meanwhile are kept and come out of next() later.
    [[nodiscard]] bool wait_for_members(std::size_t count, double deadline);
    // Absorbs the view changes that have arrived; mixing messages among them are kept for next().
    void absorb();

  private:
    Host& host_;
    View view_;
    std::vector<Message> kept_;
};

}  // namespace Atoll::gossip

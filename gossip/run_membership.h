// The membership activity: carries a Membership's orders out over a Host.
#pragma once

#include <functional>

#include "gossip/host.h"
#include "gossip/membership.h"

namespace Atoll::gossip {

// Connects, sends, logs; a new view goes to the node's own algorithm as ViewChanged. Errors in sending are
// not ours to mend: the next heartbeat tries again.
void carry_out(Host& host, Orders orders);

// The body of the activity that drains Topic::membership; returns once the host is stopping, after saying
// goodbye. `observe` (may be empty) is called on this activity after every change and tick, for status pages
// and the saved peer table.
void run_membership(Host& host, Membership& membership,
                    const std::function<void(const Membership&)>& observe = {});

}  // namespace Atoll::gossip

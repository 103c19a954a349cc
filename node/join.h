// Joining a run: from an invite to a certificate, the run's configuration and the first members.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/stop.h"
#include "gossip/certificate.h"
#include "gossip/invite.h"
#include "node/home.h"

namespace Atoll::node {

struct Joined {
    gossip::Certificate certificate;
    std::string run_config;      // its hash is the run id of the invite
    std::vector<Bytes> records;  // encoded MemberRecords
};

// Knocks at the invite's contacts until one lets this node in. Errors: refused (expired, used up; the words
// of the member), corrupt (the configuration is not the invite's), unavailable (nobody answered in
// `seconds`), interrupted.
[[nodiscard]] Result<Joined> join_run(const gossip::Invite& invite, const gossip::Identity& identity,
                                      const Home& home, const std::string& name, double seconds,
                                      const StopToken& stop);

}  // namespace Atoll::node

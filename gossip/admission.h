// Whether a newcomer is let in: the bootstrap side of joining.
#pragma once

#include "gossip/certificate.h"
#include "gossip/message.h"
#include "gossip/token_ledger.h"

namespace Atoll::gossip {

// The newcomer's record if its request holds: it speaks for itself, its certificate is of this run and owner,
// the invite has not expired and has a use left. Errors: refused or corrupt; the message is for the newcomer
// to read.
[[nodiscard]] Result<MemberRecord> judge_join(const JoinRequest& request, const PeerId& sender,
                                              const Authority& authority, const TokenLedger& ledger,
                                              double unix_time);

}  // namespace Atoll::gossip

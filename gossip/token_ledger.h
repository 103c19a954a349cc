// Which member keys used which invite token: what makes an invite good for `uses` machines and no more.
#pragma once

#include <map>
#include <vector>

#include "gossip/certificate.h"

namespace Atoll::gossip {

// The first `uses` distinct keys that a node sees for a token hold, for good; a key that is already in may
// come again (a restart). There is no rank by which a later key could push out an earlier one: any such rank
// could be ground for by making keys. Keys that arrive together are admitted in ascending order (sort them
// first), so that nodes which see the same batch decide alike. Members learn keys from the node that admitted
// them, so nodes disagree only if a member hides admissions; then each stays with what it saw first.
class TokenLedger {
  public:
    // Errors: refused: the token is used up (by whom).
    [[nodiscard]] Status admit(const Certificate& certificate);
    // Whether admit() would succeed.
    [[nodiscard]] Status check(const Certificate& certificate) const;
    [[nodiscard]] std::size_t uses_of(const PeerId& token) const;

  private:
    std::map<PeerId, std::vector<PeerId>> members_by_token_;
};

}  // namespace Atoll::gossip

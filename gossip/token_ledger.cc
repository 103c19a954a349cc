#include "gossip/token_ledger.h"

#include <algorithm>

namespace Atoll::gossip {

Status TokenLedger::check(const Certificate& certificate) const {
    const auto found = members_by_token_.find(certificate.grant.token);
    if (found == members_by_token_.end()) return {};
    const std::vector<PeerId>& members = found->second;
    if (std::ranges::find(members, certificate.member) != members.end()) return {};
    if (members.size() < certificate.grant.uses) return {};
    return Error{ErrorCode::refused, "the invite is used up (" + std::to_string(members.size()) + " of " +
                                         std::to_string(certificate.grant.uses) + " uses, first by " +
                                         members.front().short_name() +
                                         "): ask the run's owner for a new one"};
}

Status TokenLedger::admit(const Certificate& certificate) {
    ATOLL_TRY(check(certificate));
    std::vector<PeerId>& members = members_by_token_[certificate.grant.token];
    if (std::ranges::find(members, certificate.member) == members.end())
        members.push_back(certificate.member);
    return {};
}

std::size_t TokenLedger::uses_of(const PeerId& token) const {
    const auto found = members_by_token_.find(token);
    return found == members_by_token_.end() ? 0 : found->second.size();
}

}  // namespace Atoll::gossip

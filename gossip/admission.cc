#include "gossip/admission.h"

namespace Atoll::gossip {

Result<MemberRecord> judge_join(const JoinRequest& request, const PeerId& sender, const Authority& authority,
                                const TokenLedger& ledger, double unix_time) {
    ATOLL_ASSIGN(MemberRecord record, MemberRecord::decode(request.record));
    if (record.member() != sender) {
        return Error{ErrorCode::refused,
                     sender.short_name() + " asks for another key, " + record.member().short_name()};
    }
    ATOLL_TRY(check_certificate(record.certificate, authority, unix_time));
    ATOLL_TRY(check_not_expired(record.certificate.grant, unix_time));
    ATOLL_TRY(ledger.check(record.certificate));
    return record;
}

}  // namespace Atoll::gossip

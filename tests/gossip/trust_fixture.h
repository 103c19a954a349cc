// A run with an owner, invites and members, all from fixed seeds: what the trust tests start from.
#pragma once

#include <string_view>

#include "base/hash.h"
#include "gossip/certificate.h"

namespace Atoll::gossip::testing {

inline constexpr double kNow = 1'800'000'000;  // Unix time of the tests
inline constexpr std::uint64_t kDay = 86'400;
inline constexpr auto kNowSeconds = static_cast<std::uint64_t>(kNow);

inline Identity identity_named(std::string_view name) {
    return Identity::from_seed(blake2b(as_byte_view(name)));
}

struct TestRun {
    Identity owner = identity_named("owner");
    Hash id = blake2b(as_byte_view("run"));

    [[nodiscard]] Authority authority() const { return {id, owner.id()}; }

    // Good for a day to join, and for ten to stay.
    [[nodiscard]] Invite invite(std::uint32_t uses = 1, Role role = Role::peer) const {
        const InviteTerms terms{.run = id,
                                .role = role,
                                .uses = uses,
                                .join_before = kNowSeconds + kDay,
                                .member_until = kNowSeconds + 10 * kDay,
                                .contacts = {{identity_named("first").id(), "tcp://192.0.2.1:4444"},
                                             {identity_named("second").id(), "tcp://[2001:db8::1]:4445"}}};
        return issue_invite(owner, terms).value();
    }

    [[nodiscard]] Certificate certificate(const PeerId& member) const {
        const Invite one = invite();
        return certify(one.grant, one.token, member);
    }
};

}  // namespace Atoll::gossip::testing

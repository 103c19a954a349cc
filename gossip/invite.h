// Invites: one string that lets one machine (or N) into a run. The run owner signs a *grant* naming a fresh
// token key; whoever holds the token's secret, which travels in the invite, may certify a member key with it
// (gossip/certificate.h). So the owner's key can stay in a drawer while members join
// (docs/reference/invite.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "gossip/address.h"
#include "gossip/identity.h"

namespace Atoll::gossip {

enum class Role : std::uint8_t {
    peer = 0,    // takes part in the averaging
    client = 1,  // federated: trains on private data, may be away
};
[[nodiscard]] std::string_view role_name(Role role);

// What the owner signs.
struct Grant {
    static constexpr std::uint8_t kVersion = 1;
    // version 1, role 1, uses 4, join_before 8, member_until 8, run 32, owner 32, token 32, contacts 32,
    // signature 64.
    static constexpr std::size_t kSignedBytes = 1 + 1 + 4 + 8 + 8 + 4 * 32;
    static constexpr std::size_t kBytes = kSignedBytes + 64;

    Role role = Role::peer;
    std::uint32_t uses = 1;          // how many member keys the token may certify
    std::uint64_t join_before = 0;   // Unix time, seconds: the invite's expiry
    std::uint64_t member_until = 0;  // Unix time, seconds: expiry of the certificates made from it
    Hash run{};
    PeerId owner;
    PeerId token;
    Hash contacts{};        // BLAKE2b of the invite's encoded contacts
    Signature signature{};  // the owner's, over all of the above

    [[nodiscard]] Bytes encode() const;
    // Errors: corrupt (length, version, role, uses, or the owner's signature does not match).
    [[nodiscard]] static Result<Grant> decode(ByteView bytes);
};

// Signs a grant whose other fields are set.
[[nodiscard]] Grant sign_grant(const Identity& owner, Grant grant);

// A member that a newcomer can turn to. Its id is needed to connect: CURVE clients know their server's key.
struct Contact {
    PeerId peer;
    std::string address;  // "tcp://host:port"
};
inline constexpr std::size_t kContactsMax = 4;

struct Invite {
    Grant grant;
    std::vector<Contact> contacts;
    Identity token;

    [[nodiscard]] std::string text() const;  // "atoll://…": secret, as it holds the token
};

struct InviteTerms {
    Hash run{};
    Role role = Role::peer;
    std::uint32_t uses = 1;
    std::uint64_t join_before = 0;
    std::uint64_t member_until = 0;
    std::vector<Contact> contacts;
};

// Errors: invalid (no uses, no time, too many contacts, a malformed address).
[[nodiscard]] Result<Invite> issue_invite(const Identity& owner, const InviteTerms& terms);

// The invite in a string as pasted (surrounding white space is forgiven). Errors: corrupt: cut off, altered
// or mistyped.
[[nodiscard]] Result<Invite> parse_invite(std::string_view text);

// Whether a newcomer may still use it. Errors: refused ("the invite expired at 2026-01-31 12:00:00 UTC …").
[[nodiscard]] Status check_not_expired(const Grant& grant, double unix_time);

// An invite in words, for `atoll invite inspect`.
struct InviteSummary {
    std::string run;    // hexadecimal
    std::string owner;  // fingerprint
    std::string role;
    std::uint32_t uses = 1;
    std::string expires;       // ISO 8601, UTC
    std::string member_until;  // ISO 8601, UTC
    bool expired = false;
    std::vector<std::string> addresses;  // "tcp://host:port (fingerprint)"
};
[[nodiscard]] InviteSummary summarize(const Invite& invite, double unix_time);

// "2026-01-31T12:00:00Z".
[[nodiscard]] std::string utc_text(std::uint64_t unix_seconds);

// The issuing node's `invites` file: one line of text a grant, without the token's secret. The node lets the
// tokens of live grants shake hands. Appending is atomic. Errors: failed; corrupt (names the line).
[[nodiscard]] Status append_grant(const std::filesystem::path& path, const Grant& grant);
[[nodiscard]] Result<std::vector<Grant>> read_grants(
    const std::filesystem::path& path);  // none if there is no file

}  // namespace Atoll::gossip

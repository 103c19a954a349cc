// Certificates: proof that a key is a member's, checked offline with the run's id and the owner's public key
// alone. The chain: owner signs grant (names the token) -> token signs the member's key.
#pragma once

#include "gossip/invite.h"

namespace Atoll::gossip {

// What every member of a run knows and checks others against.
struct Authority {
    Hash run{};
    PeerId owner;
};

struct Certificate {
    // grant 214, member key 32, the token's signature 64.
    static constexpr std::size_t kBytes = Grant::kBytes + 32 + 64;

    Grant grant;
    PeerId member;
    Signature signature{};  // the token's, over the encoded grant and the member's key

    [[nodiscard]] Bytes encode() const;
    // Errors: corrupt: wrong length, or one of the two signatures does not match.
    [[nodiscard]] static Result<Certificate> decode(ByteView bytes);
};

// The newcomer makes its own certificate with the token from the invite.
[[nodiscard]] Certificate certify(const Grant& grant, const Identity& token, const PeerId& member);

// The first node's own, from a grant of one use that the owner's key issues to it; valid until
// `member_until`.
[[nodiscard]] Certificate certify_first(const Identity& owner, const Hash& run, const PeerId& member,
                                        std::uint64_t member_until);

// Whether a decoded certificate holds now, in this run. Errors: refused: another run, another owner, expired
// at …
[[nodiscard]] Status check_certificate(const Certificate& certificate, const Authority& authority,
                                       double unix_time);

// A signed statement of a member about itself that others pass on: how newcomers learn of everybody.
struct MemberRecord {
    Certificate certificate;
    std::string name;               // human name
    std::string address;            // "tcp://host:port", or empty: it can only dial others
    std::string region;             // label of the region it is in, or empty
    std::uint64_t incarnation = 0;  // rises with every start; the record with the highest one holds
    Signature signature{};          // the member's

    [[nodiscard]] Bytes encode() const;
    // Errors: corrupt: malformed, or a signature does not match.
    [[nodiscard]] static Result<MemberRecord> decode(ByteView bytes);
    [[nodiscard]] const PeerId& member() const { return certificate.member; }
};
// The encoded record that these parts make up; nothing is checked.
[[nodiscard]] Bytes join_member_record(ByteView certificate, std::uint64_t incarnation, std::string_view name,
                                       std::string_view address, std::string_view region,
                                       const Signature& signature);
[[nodiscard]] MemberRecord make_member_record(const Identity& member, const Certificate& certificate,
                                              std::string name, std::string address,
                                              std::uint64_t incarnation, std::string region = "");

}  // namespace Atoll::gossip

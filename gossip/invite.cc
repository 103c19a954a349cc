#include "gossip/invite.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/files.h"
#include "gossip/base64.h"
#include "gossip/byte_io.h"

namespace Atoll::gossip {

namespace {
constexpr std::string_view kScheme = "atoll://";
constexpr std::uint64_t kInvitesFileBytesMax = 16ULL << 20U;  // 54,000 grants

Bytes encode_contacts(const std::vector<Contact>& contacts) {
    ByteWriter out;
    out.integer(static_cast<std::uint8_t>(contacts.size()));
    for (const Contact& contact : contacts) {
        out.raw(contact.peer.key);
        out.text(contact.address);
    }
    return out.take();
}

Bytes signed_part(const Grant& grant) {
    ByteWriter out;
    out.integer(Grant::kVersion);
    out.integer(static_cast<std::uint8_t>(grant.role));
    out.integer(grant.uses);
    out.integer(grant.join_before);
    out.integer(grant.member_until);
    out.raw(grant.run);
    out.raw(grant.owner.key);
    out.raw(grant.token.key);
    out.raw(grant.contacts);
    return out.take();
}

Error altered(const std::string& how) {
    return {ErrorCode::corrupt,
            "the invite is cut off, altered or mistyped (" + how + "): copy the whole string again"};
}
}  // namespace

std::string_view role_name(Role role) { return role == Role::peer ? "peer" : "client"; }

std::string utc_text(std::uint64_t unix_seconds) {
    // 9999-12-31: later dates have no four-digit year, and grants that never expire may say anything.
    const std::uint64_t seconds = std::min<std::uint64_t>(unix_seconds, 253402300799ULL);
    // The Gregorian calendar in years that begin in March, so that the leap day comes last: 400 years have
    // 146097 days, five months from March or August 153. 719468 days lie between 0000-03-01 and 1970-01-01.
    const std::uint64_t days = seconds / 86400 + 719468;
    const std::uint64_t era_day = days % 146097;
    const std::uint64_t era_year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    const std::uint64_t year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    const std::uint64_t march_month = (5 * year_day + 2) / 153;
    const std::uint64_t day = year_day - (153 * march_month + 2) / 5 + 1;
    const std::uint64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
    const std::uint64_t year = days / 146097 * 400 + era_year + (month <= 2 ? 1 : 0);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", year, month, day, seconds / 3600 % 24,
                       seconds / 60 % 60, seconds % 60);
}

Bytes Grant::encode() const {
    Bytes bytes = signed_part(*this);
    bytes.insert(bytes.end(), signature.begin(), signature.end());
    return bytes;
}

Result<Grant> Grant::decode(ByteView bytes) {
    ByteReader in(bytes);
    const auto version = in.integer<std::uint8_t>();
    const auto role = in.integer<std::uint8_t>();
    Grant grant;
    grant.uses = in.integer<std::uint32_t>();
    grant.join_before = in.integer<std::uint64_t>();
    grant.member_until = in.integer<std::uint64_t>();
    grant.run = in.array<32>();
    grant.owner.key = in.array<32>();
    grant.token.key = in.array<32>();
    grant.contacts = in.array<32>();
    grant.signature = in.array<64>();
    if (!in.complete()) return Error{ErrorCode::corrupt, "a grant has " + std::to_string(kBytes) + " bytes"};
    if (version != kVersion) {
        return Error{ErrorCode::corrupt,
                     fmt::format("grant of version {}, this program knows {}: update it", version, kVersion)};
    }
    if (role > static_cast<std::uint8_t>(Role::client) || grant.uses == 0) {
        return Error{ErrorCode::corrupt, "a grant with an unknown role or no uses"};
    }
    grant.role = static_cast<Role>(role);
    if (!verify(grant.owner, context::kGrant, bytes.first(kSignedBytes), grant.signature)) {
        return Error{ErrorCode::corrupt, "altered: the run owner's signature does not match"};
    }
    return grant;
}

Grant sign_grant(const Identity& owner, Grant grant) {
    grant.owner = owner.id();
    grant.signature = owner.sign(context::kGrant, signed_part(grant));
    return grant;
}

Result<Invite> issue_invite(const Identity& owner, const InviteTerms& terms) {
    if (terms.uses == 0) return Error{ErrorCode::invalid, "an invite needs at least one use"};
    if (terms.member_until < terms.join_before) {
        return Error{ErrorCode::invalid, "membership would end at " + utc_text(terms.member_until) +
                                             ", before the invite expires at " + utc_text(terms.join_before)};
    }
    if (terms.contacts.empty() || terms.contacts.size() > kContactsMax) {
        return Error{ErrorCode::invalid, fmt::format("an invite names 1 to {} members to turn to, not {}",
                                                     kContactsMax, terms.contacts.size())};
    }
    std::vector<Contact> contacts;
    for (const Contact& contact : terms.contacts) {
        ATOLL_ASSIGN(const Address address, parse_address(contact.address));
        contacts.push_back({contact.peer, address.text()});
    }
    Identity token = Identity::generate();
    const Grant grant = sign_grant(owner, {.role = terms.role,
                                           .uses = terms.uses,
                                           .join_before = terms.join_before,
                                           .member_until = terms.member_until,
                                           .run = terms.run,
                                           .token = token.id(),
                                           .contacts = blake2b(encode_contacts(contacts))});
    return Invite{grant, std::move(contacts), std::move(token)};
}

std::string Invite::text() const {
    ByteWriter out;
    out.raw(grant.encode());
    out.raw(token.seed());
    out.raw(encode_contacts(contacts));
    return std::string(kScheme) + to_base64url(out.take());
}

Result<Invite> parse_invite(std::string_view text) {
    while (!text.empty() && std::string_view(" \t\r\n'\"").find(text.front()) != std::string_view::npos)
        text.remove_prefix(1);
    while (!text.empty() && std::string_view(" \t\r\n'\"").find(text.back()) != std::string_view::npos)
        text.remove_suffix(1);
    if (!text.starts_with(kScheme)) {
        return Error{ErrorCode::invalid, "not an invite: it must start with " + std::string(kScheme)};
    }
    const Result<Bytes> bytes = from_base64url(text.substr(kScheme.size()));
    if (!bytes.ok()) return altered("not base64url");
    ByteReader in(*bytes);
    const ByteView grant_bytes = in.take(Grant::kBytes);
    const ByteView seed = in.take(Identity::kSeedBytes);
    if (!in.ok()) return altered("too short");
    const Result<Grant> grant = Grant::decode(grant_bytes);
    if (!grant.ok()) return altered(grant.error().message);
    Identity token = Identity::from_seed(seed);
    if (token.id() != grant->token) return altered("the token is not the one the owner signed");

    std::vector<Contact> contacts(std::min<std::size_t>(in.integer<std::uint8_t>(), kContactsMax));
    for (Contact& contact : contacts) {
        contact.peer.key = in.array<32>();
        contact.address = in.text();
    }
    if (!in.complete() || blake2b(encode_contacts(contacts)) != grant->contacts) {
        return altered("the addresses are not those the owner signed");
    }
    for (const Contact& contact : contacts) {
        if (const auto address = parse_address(contact.address); !address.ok())
            return address.error().within("invite");
    }
    return Invite{*grant, std::move(contacts), std::move(token)};
}

Status check_not_expired(const Grant& grant, double unix_time) {
    if (unix_time < static_cast<double>(grant.join_before)) return {};
    return Error{ErrorCode::refused, "the invite expired at " + utc_text(grant.join_before) +
                                         ": ask the run's owner for a new one"};
}

InviteSummary summarize(const Invite& invite, double unix_time) {
    InviteSummary summary{.run = to_hex(invite.grant.run),
                          .owner = fingerprint(invite.grant.owner),
                          .role = std::string(role_name(invite.grant.role)),
                          .uses = invite.grant.uses,
                          .expires = utc_text(invite.grant.join_before),
                          .member_until = utc_text(invite.grant.member_until),
                          .expired = !check_not_expired(invite.grant, unix_time).ok()};
    for (const Contact& contact : invite.contacts) {
        summary.addresses.push_back(contact.address + " (" + fingerprint(contact.peer) + ")");
    }
    return summary;
}

Status append_grant(const std::filesystem::path& path, const Grant& grant) {
    // The lock is held by one `atoll invite` at a time; readers see the old or the new file.
    ATOLL_ASSIGN(const FileLock lock, FileLock::acquire(path.string() + ".lock"));
    std::string text;
    if (std::filesystem::exists(path)) {
        ATOLL_ASSIGN(text, read_text(path, kInvitesFileBytesMax));
    }
    return write_file(path, text + to_base64url(grant.encode()) + "\n", 0600);
}

Result<std::vector<Grant>> read_grants(const std::filesystem::path& path) {
    std::vector<Grant> grants;
    if (!std::filesystem::exists(path)) return grants;
    ATOLL_ASSIGN(const std::string text, read_text(path, kInvitesFileBytesMax));
    std::size_t line = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view entry = std::string_view(text).substr(begin, end - begin);
        begin = end + 1;
        ++line;
        if (entry.empty()) continue;
        const Result<Bytes> bytes = from_base64url(entry);
        Result<Grant> grant = bytes.ok() ? Grant::decode(*bytes) : Result<Grant>(bytes.error());
        if (!grant.ok()) return grant.error().within(fmt::format("{}:{}", path.string(), line));
        grants.push_back(*grant);
    }
    return grants;
}

}  // namespace Atoll::gossip

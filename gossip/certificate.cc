#include "gossip/certificate.h"

#include "base/check.h"
#include "gossip/byte_io.h"
#include "gossip/limits.h"
#include "gossip/validate.h"

namespace Atoll::gossip {

namespace {
Bytes signed_part(const Certificate& certificate) {
    ByteWriter out;
    out.raw(certificate.grant.encode());
    out.raw(certificate.member.key);
    return out.take();
}
}  // namespace

Bytes Certificate::encode() const {
    Bytes bytes = signed_part(*this);
    bytes.insert(bytes.end(), signature.begin(), signature.end());
    return bytes;
}

Result<Certificate> Certificate::decode(ByteView bytes) {
    if (bytes.size() != kBytes) {
        return Error{ErrorCode::corrupt, "a certificate has " + std::to_string(kBytes) + " bytes, not " +
                                             std::to_string(bytes.size())};
    }
    ByteReader in(bytes);
    Certificate certificate;
    ATOLL_ASSIGN(certificate.grant, Grant::decode(in.take(Grant::kBytes)));
    certificate.member.key = in.array<32>();
    certificate.signature = in.array<64>();
    if (!verify(certificate.grant.token, context::kCertificate, bytes.first(kBytes - sizeof(Signature)),
                certificate.signature)) {
        return Error{ErrorCode::corrupt, "altered: the invite token's signature does not match"};
    }
    return certificate;
}

Certificate certify(const Grant& grant, const Identity& token, const PeerId& member) {
    ATOLL_CHECK(token.id() == grant.token);
    Certificate certificate{grant, member, {}};
    certificate.signature = token.sign(context::kCertificate, signed_part(certificate));
    return certificate;
}

Certificate certify_first(const Identity& owner, const Hash& run, const PeerId& member,
                          std::uint64_t member_until) {
    const Identity token = Identity::generate();
    const Grant grant = sign_grant(
        owner, {.join_before = member_until, .member_until = member_until, .run = run, .token = token.id()});
    return certify(grant, token, member);
}

Status check_certificate(const Certificate& certificate, const Authority& authority, double unix_time) {
    const Grant& grant = certificate.grant;
    if (grant.owner != authority.owner) {
        return Error{ErrorCode::refused, "the certificate is of owner " + fingerprint(grant.owner) +
                                             ", this run belongs to " + fingerprint(authority.owner)};
    }
    if (grant.run != authority.run) {
        return Error{ErrorCode::refused, "the certificate is for another run (" +
                                             to_hex(grant.run).substr(0, 8) + ", this one is " +
                                             to_hex(authority.run).substr(0, 8) + ")"};
    }
    if (unix_time >= static_cast<double>(grant.member_until)) {
        return Error{ErrorCode::refused, "the certificate expired at " + utc_text(grant.member_until)};
    }
    return {};
}

Bytes join_member_record(ByteView certificate, std::uint64_t incarnation, std::string_view name,
                         std::string_view address, std::string_view region, const Signature& signature) {
    ByteWriter out;
    out.raw(certificate);
    out.integer(incarnation);
    out.text(name);
    out.text(address);
    if (!region.empty()) out.text(region);
    out.raw(signature);
    return out.take();
}

Bytes MemberRecord::encode() const {
    return join_member_record(certificate.encode(), incarnation, name, address, region, signature);
}

Result<MemberRecord> MemberRecord::decode(ByteView bytes) {
    ByteReader in(bytes);
    MemberRecord record;
    ATOLL_ASSIGN(record.certificate, Certificate::decode(in.take(Certificate::kBytes)));
    record.incarnation = in.integer<std::uint64_t>();
    record.name = in.text();
    record.address = in.text();
    // Records without a region are as they were before there were regions.
    if (in.left() > sizeof(Signature)) {
        record.region = in.text();
        if (record.region.empty()) return Error{ErrorCode::corrupt, "a member record with an empty region"};
    }
    record.signature = in.array<64>();
    if (!in.complete()) return Error{ErrorCode::corrupt, "a member record is cut off or too long"};
    ATOLL_TRY(check_name(record.name));
    ATOLL_TRY(check_region(record.region));
    if (!record.address.empty()) {
        if (const auto address = parse_address(record.address); !address.ok()) return address.error();
    }
    if (!verify(record.member(), context::kMemberRecord, bytes.first(bytes.size() - sizeof(Signature)),
                record.signature)) {
        return Error{ErrorCode::corrupt, "altered: the member's signature does not match"};
    }
    return record;
}

MemberRecord make_member_record(const Identity& member, const Certificate& certificate, std::string name,
                                std::string address, std::uint64_t incarnation, std::string region) {
    ATOLL_CHECK(member.id() == certificate.member);
    ATOLL_CHECK(name.size() <= kNameBytesMax && address.size() <= kAddressBytesMax);
    ATOLL_CHECK(region.size() <= kRegionBytesMax);
    MemberRecord record{certificate, std::move(name), std::move(address), std::move(region), incarnation, {}};
    const Bytes bytes = record.encode();
    record.signature =
        member.sign(context::kMemberRecord, ByteView(bytes).first(bytes.size() - sizeof(Signature)));
    return record;
}

}  // namespace Atoll::gossip

#include "gossip/certificate.h"

#include <gtest/gtest.h>

#include "gossip/limits.h"
#include "gossip/token_ledger.h"
#include "tests/gossip/trust_fixture.h"

namespace Atoll::gossip {
namespace {

using testing::identity_named;
using testing::kDay;
using testing::kNow;
using testing::kNowSeconds;
using testing::TestRun;

TEST(Certificate, Made_from_an_invite_is_accepted_offline) {
    const TestRun run;
    const Invite invite = run.invite();
    const Identity member = identity_named("member");
    const auto decoded = Certificate::decode(certify(invite.grant, invite.token, member.id()).encode());
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(decoded->member, member.id());
    EXPECT_TRUE(check_certificate(*decoded, run.authority(), kNow).ok());
}

TEST(Certificate, The_first_node_certifies_itself_with_the_owner_key) {
    const TestRun run;
    const Certificate own =
        certify_first(run.owner, run.id, identity_named("first").id(), kNowSeconds + kDay);
    const auto decoded = Certificate::decode(own.encode());
    ASSERT_TRUE(decoded.ok());
    EXPECT_TRUE(check_certificate(*decoded, run.authority(), kNow).ok());
}

TEST(Certificate, Every_flipped_bit_is_refused) {
    const Bytes bytes = TestRun().certificate(identity_named("member").id()).encode();
    ASSERT_EQ(bytes.size(), Certificate::kBytes);
    for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
        Bytes flipped = bytes;
        flipped[i / 8] ^= std::byte{1} << (i % 8);
        EXPECT_FALSE(Certificate::decode(flipped).ok()) << i;
    }
    for (std::size_t i = 0; i < bytes.size(); ++i)
        EXPECT_FALSE(Certificate::decode(ByteView(bytes).first(i)).ok());
}

TEST(Certificate, Of_another_run_owner_or_time_is_refused_in_words) {
    const TestRun run;
    const Certificate certificate = run.certificate(identity_named("member").id());
    const auto message = [&](const Authority& authority, double now) {
        const Status status = check_certificate(certificate, authority, now);
        return status.ok() ? "" : status.error().message;
    };
    EXPECT_NE(message({blake2b(as_byte_view("other")), run.owner.id()}, kNow).find("another run"),
              std::string::npos);
    EXPECT_NE(message({run.id, identity_named("other").id()}, kNow).find("belongs to"), std::string::npos);
    EXPECT_EQ(message(run.authority(), kNow + 10 * kDay - 1), "");
    EXPECT_NE(message(run.authority(), kNow + 10 * kDay).find("expired at 2027-01-25T08:00:00Z"),
              std::string::npos);
}

TEST(Certificate, A_token_cannot_widen_its_grant) {
    const TestRun run;
    Invite invite = run.invite();
    const Identity member = identity_named("member");
    for (int change = 0; change < 4; ++change) {
        Grant wider = invite.grant;
        if (change == 0) wider.uses = 100;
        if (change == 1) wider.member_until += kDay;
        if (change == 2) wider.role = Role::client;
        if (change == 3) wider.owner = invite.token.id();
        EXPECT_FALSE(Certificate::decode(certify(wider, invite.token, member.id()).encode()).ok()) << change;
    }
}

TEST(TokenLedger, The_first_distinct_keys_win_and_may_come_again) {
    const TestRun run;
    const Invite invite = run.invite(2);
    const auto for_member = [&](const char* name) {
        return certify(invite.grant, invite.token, identity_named(name).id());
    };
    TokenLedger ledger;
    EXPECT_TRUE(ledger.admit(for_member("a")).ok());
    EXPECT_TRUE(ledger.admit(for_member("a")).ok());
    EXPECT_EQ(ledger.uses_of(invite.token.id()), 1U);
    EXPECT_TRUE(ledger.admit(for_member("b")).ok());
    const Status third = ledger.admit(for_member("c"));
    ASSERT_FALSE(third.ok());
    EXPECT_NE(third.error().message.find("used up (2 of 2 uses"), std::string::npos) << third.error().message;
    EXPECT_TRUE(ledger.check(for_member("b")).ok());
    const Invite other = run.invite();
    EXPECT_TRUE(ledger.admit(certify(other.grant, other.token, identity_named("c").id())).ok());
}

TEST(MemberRecord, Comes_back_and_every_flipped_bit_is_refused) {
    const TestRun run;
    const Identity member = identity_named("member");
    const MemberRecord record =
        make_member_record(member, run.certificate(member.id()), "ada", "tcp://192.0.2.7:9000", 42);
    const Bytes bytes = record.encode();
    const auto decoded = MemberRecord::decode(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(decoded->name, "ada");
    EXPECT_EQ(decoded->address, "tcp://192.0.2.7:9000");
    EXPECT_EQ(decoded->incarnation, 42U);
    EXPECT_EQ(decoded->member(), member.id());
    for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
        Bytes flipped = bytes;
        flipped[i / 8] ^= std::byte{1} << (i % 8);
        EXPECT_FALSE(MemberRecord::decode(flipped).ok()) << i;
    }
    for (std::size_t i = 0; i < bytes.size(); ++i)
        EXPECT_FALSE(MemberRecord::decode(ByteView(bytes).first(i)).ok());
}

TEST(MemberRecord, Carries_a_region_and_without_one_is_as_records_were_before_there_were_regions) {
    const TestRun run;
    const Identity member = identity_named("member");
    const Certificate certificate = run.certificate(member.id());
    const MemberRecord nowhere = make_member_record(member, certificate, "ada", "", 42);
    const MemberRecord north = make_member_record(member, certificate, "ada", "", 42, "north");
    EXPECT_EQ(nowhere.encode().size(), Certificate::kBytes + 8 + 1 + 3 + 1 + sizeof(Signature));
    EXPECT_EQ(north.encode().size(), nowhere.encode().size() + 1 + 5);
    EXPECT_EQ(MemberRecord::decode(nowhere.encode())->region, "");
    EXPECT_EQ(MemberRecord::decode(north.encode())->region, "north");
    const Bytes encoded = north.encode();
    for (std::size_t i = 0; i < encoded.size(); ++i) {
        Bytes flipped = encoded;
        flipped[i] ^= std::byte{1};
        EXPECT_FALSE(MemberRecord::decode(flipped).ok()) << i;
        EXPECT_FALSE(MemberRecord::decode(ByteView(encoded).first(i)).ok()) << i;
    }
    const std::string longest(kRegionBytesMax, 'r');
    EXPECT_TRUE(
        MemberRecord::decode(
            make_member_record(member, certificate, std::string(kNameBytesMax, 'n'), "", 1, longest).encode())
            .ok());
}

TEST(MemberRecord, Of_somebody_else_is_refused) {
    const TestRun run;
    const Identity member = identity_named("member");
    const Identity thief = identity_named("thief");
    MemberRecord record = make_member_record(member, run.certificate(member.id()), "ada", "", 1);
    const MemberRecord forged = make_member_record(thief, run.certificate(thief.id()), "eve", "", 1);
    record.signature = forged.signature;
    EXPECT_FALSE(MemberRecord::decode(record.encode()).ok());
}

}  // namespace
}  // namespace Atoll::gossip

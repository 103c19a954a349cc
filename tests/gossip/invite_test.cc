#include "gossip/invite.h"

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>

#include "base/files.h"
#include "base/rng.h"
#include "gossip/base64.h"
#include "tests/gossip/trust_fixture.h"

namespace Atoll::gossip {
namespace {

using testing::identity_named;
using testing::kDay;
using testing::kNow;
using testing::kNowSeconds;
using testing::TestRun;

TEST(Invite, Comes_back_from_its_text) {
    const TestRun run;
    const Invite invite = run.invite(3, Role::client);
    const auto parsed = parse_invite("  " + invite.text() + "\n");
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    EXPECT_EQ(parsed->grant.encode(), invite.grant.encode());
    EXPECT_EQ(parsed->token.id(), invite.token.id());
    ASSERT_EQ(parsed->contacts.size(), 2U);
    EXPECT_EQ(parsed->contacts[1].peer, identity_named("second").id());
    EXPECT_EQ(parsed->contacts[1].address, "tcp://[2001:db8::1]:4445");
    EXPECT_EQ(parsed->grant.role, Role::client);
    EXPECT_EQ(parsed->grant.uses, 3U);
    EXPECT_TRUE(parsed->text().starts_with("atoll://"));
}

TEST(Invite, Every_changed_character_and_every_truncation_is_refused) {
    const std::string text = TestRun().invite().text();
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string changed = text;
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        EXPECT_FALSE(parse_invite(changed).ok()) << i;
        EXPECT_FALSE(parse_invite(text.substr(0, i)).ok()) << i;
    }
    EXPECT_FALSE(parse_invite(text + "AAAA").ok());
}

TEST(Invite, Every_flipped_bit_is_named_as_an_alteration) {
    const std::string text = TestRun().invite().text();
    const Bytes bytes = from_base64url(text.substr(8)).value();
    for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
        Bytes flipped = bytes;
        flipped[i / 8] ^= std::byte{1} << (i % 8);
        const auto parsed = parse_invite("atoll://" + to_base64url(flipped));
        ASSERT_FALSE(parsed.ok()) << i;
        EXPECT_EQ(parsed.error().code, ErrorCode::corrupt);
    }
}

TEST(Invite, Garbage_is_refused) {
    Rng rng(7);
    for (int i = 0; i < 2000; ++i) {
        Bytes bytes(rng.below(600));
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(rng.bits32());
        EXPECT_FALSE(parse_invite("atoll://" + to_base64url(bytes)).ok());
    }
    EXPECT_EQ(parse_invite("https://example.com").error().code, ErrorCode::invalid);
}

TEST(Invite, Expired_is_refused_and_says_when) {
    const Invite invite = TestRun().invite();
    EXPECT_TRUE(check_not_expired(invite.grant, kNow).ok());
    EXPECT_TRUE(check_not_expired(invite.grant, kNow + kDay - 1).ok());
    const Status expired = check_not_expired(invite.grant, kNow + kDay);
    ASSERT_FALSE(expired.ok());
    EXPECT_NE(expired.error().message.find("expired at 2027-01-16T08:00:00Z"), std::string::npos)
        << expired.error().message;
}

TEST(Invite, Terms_that_make_no_sense_are_refused) {
    const TestRun run;
    const auto issue = [&](auto change) {
        InviteTerms terms{.run = run.id,
                          .join_before = kNowSeconds,
                          .member_until = kNowSeconds,
                          .contacts = {{identity_named("first").id(), "host:1"}}};
        change(terms);
        return issue_invite(run.owner, terms);
    };
    EXPECT_TRUE(issue([](InviteTerms&) {}).ok());
    EXPECT_FALSE(issue([](InviteTerms& t) { t.uses = 0; }).ok());
    EXPECT_FALSE(issue([](InviteTerms& t) { t.member_until = 5; }).ok());
    EXPECT_FALSE(issue([](InviteTerms& t) { t.contacts.clear(); }).ok());
    EXPECT_FALSE(issue([](InviteTerms& t) { t.contacts.resize(5, t.contacts[0]); }).ok());
    EXPECT_FALSE(issue([](InviteTerms& t) { t.contacts[0].address = "nowhere"; }).ok());
}

TEST(Invite, Is_summarized_in_words) {
    const TestRun run;
    const InviteSummary summary = summarize(run.invite(), kNow + 2 * kDay);
    EXPECT_EQ(summary.run, to_hex(run.id));
    EXPECT_EQ(summary.owner, fingerprint(run.owner.id()));
    EXPECT_EQ(summary.role, "peer");
    EXPECT_EQ(summary.expires, "2027-01-16T08:00:00Z");
    EXPECT_EQ(summary.member_until, "2027-01-25T08:00:00Z");
    EXPECT_TRUE(summary.expired);
    ASSERT_EQ(summary.addresses.size(), 2U);
    EXPECT_TRUE(summary.addresses[0].starts_with("tcp://192.0.2.1:4444 ("));
}

TEST(UtcText, Agrees_with_the_C_library_on_leap_years_and_all_others) {
    const auto expected = [](std::time_t seconds) {
        std::tm parts{};
        gmtime_r(&seconds, &parts);
        char text[32];
        return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts));
    };
    for (std::uint64_t day = 0; day < 366 * 500; ++day) {
        const std::uint64_t seconds = day * kDay + day * 7919 % kDay;
        ASSERT_EQ(utc_text(seconds), expected(static_cast<std::time_t>(seconds)));
    }
    EXPECT_EQ(utc_text(~0ULL), "9999-12-31T23:59:59Z");
}

TEST(InvitesFile, Keeps_every_grant_and_names_a_bad_line) {
    const TestRun run;
    const auto path =
        std::filesystem::temp_directory_path() / ("atoll_invites_" + std::to_string(::getpid()));
    std::filesystem::remove(path);
    EXPECT_TRUE(read_grants(path).value().empty());
    const Invite first = run.invite();
    const Invite second = run.invite(5);
    ASSERT_TRUE(append_grant(path, first.grant).ok());
    ASSERT_TRUE(append_grant(path, second.grant).ok());
    const auto grants = read_grants(path).value();
    ASSERT_EQ(grants.size(), 2U);
    EXPECT_EQ(grants[0].encode(), first.grant.encode());
    EXPECT_EQ(grants[1].token, second.token.id());

    std::string text = read_text(path).value();
    text[text.size() / 2 + 20] ^= 1;
    ASSERT_TRUE(write_file(path, text).ok());
    const auto damaged = read_grants(path);
    ASSERT_FALSE(damaged.ok());
    EXPECT_NE(damaged.error().message.find(path.string() + ":2"), std::string::npos)
        << damaged.error().message;
    std::filesystem::remove(path);
    std::filesystem::remove(path.string() + ".lock");
}

}  // namespace
}  // namespace Atoll::gossip

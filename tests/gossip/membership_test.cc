#include "gossip/membership.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "gossip/limits.h"
#include "tests/gossip/membership_cluster.h"

namespace Atoll::gossip {
namespace {

using testing::Cluster;
using testing::identity_named;
using testing::kDay;
using testing::kNow;
using Members = std::set<std::size_t>;

TEST(Membership, Everybody_hears_of_everybody_through_the_first) {
    Cluster cluster;
    cluster.start_all(6);
    cluster.run_for(8);
    for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(cluster.view_of(i), (Members{0, 1, 2, 3, 4, 5})) << i;
    EXPECT_EQ(cluster.nodes[5].connected.size(), 5U);
}

TEST(Membership, A_silent_member_is_suspected_then_dead_and_the_reason_says_so) {
    Cluster cluster;
    cluster.start_all(3);
    cluster.run_for(5);
    cluster.kill(2);
    cluster.run_for(4);
    EXPECT_EQ(cluster.state(0, 2), "suspect");
    EXPECT_EQ(cluster.view_of(0), (Members{0, 1, 2})) << "a suspect is still counted on";
    cluster.run_for(8);
    EXPECT_EQ(cluster.state(0, 2), "dead");
    EXPECT_EQ(cluster.view_of(0), (Members{0, 1}));
    EXPECT_EQ(cluster.view_of(1), (Members{0, 1}));
    const std::string& reason = cluster.nodes[0].views.back().reason;
    EXPECT_NE(
        reason.find("n2 (" + cluster.nodes[2].identity.id().short_name() + ") has not been heard of for 1"),
        std::string::npos)
        << reason;
}

TEST(Membership, A_suspect_that_is_heard_again_never_leaves_the_view) {
    Cluster cluster;
    cluster.start_all(2);
    cluster.run_for(5);
    const std::size_t views = cluster.nodes[0].views.size();
    cluster.passes = [](std::size_t from, std::size_t, const Body&) { return from != 1; };
    cluster.run_for(6);
    EXPECT_EQ(cluster.state(0, 1), "suspect");
    cluster.passes = [](std::size_t, std::size_t, const Body&) { return true; };
    cluster.run_for(2);
    EXPECT_EQ(cluster.state(0, 1), "alive");
    EXPECT_EQ(cluster.nodes[0].views.size(), views);
}

TEST(Membership, A_partition_splits_the_view_and_heals_by_itself) {
    Cluster cluster;
    cluster.start_all(5);
    cluster.run_for(8);
    cluster.passes = [](std::size_t from, std::size_t to, const Body&) { return (from < 2) == (to < 2); };
    cluster.run_for(15);
    EXPECT_EQ(cluster.view_of(0), (Members{0, 1}));
    EXPECT_EQ(cluster.view_of(4), (Members{2, 3, 4}));
    cluster.passes = [](std::size_t, std::size_t, const Body&) { return true; };
    cluster.run_for(3);
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(cluster.view_of(i).size(), 5U) << i;
}

TEST(Membership, Who_leaves_is_gone_at_once_and_records_passed_on_do_not_revive_it) {
    Cluster cluster;
    cluster.start_all(3);
    cluster.run_for(5);
    const std::vector<Bytes> records = cluster.nodes[1].membership->records();
    cluster.leave(2);
    cluster.run_for(0.5);
    EXPECT_EQ(cluster.view_of(0), (Members{0, 1}));
    EXPECT_NE(cluster.nodes[0].views.back().reason.find("left: done"), std::string::npos);
    cluster.carry_out(0, cluster.nodes[0].membership->learn(records, cluster.at()));
    EXPECT_EQ(cluster.state(0, 2), "left");
    cluster.nodes[2].incarnation = 200;
    cluster.start(2);
    cluster.run_for(3);
    EXPECT_EQ(cluster.view_of(0), (Members{0, 1, 2}));
    EXPECT_EQ(cluster.view_of(2), (Members{0, 1, 2})) << "it comes back by its saved peer table";
}

TEST(Membership, A_restart_with_a_higher_incarnation_replaces_the_address) {
    Cluster cluster;
    cluster.start_all(3);
    cluster.run_for(5);
    const std::vector<Bytes> old_records = cluster.nodes[1].membership->records();
    cluster.kill(2);
    cluster.nodes[2].incarnation = 101;
    cluster.nodes[2].port = 9999;
    cluster.start(2);
    cluster.run_for(3);
    const PeerId restarted = cluster.nodes[2].identity.id();
    EXPECT_EQ(cluster.nodes[0].connected[restarted], "tcp://192.0.2.1:9999");
    cluster.carry_out(0, cluster.nodes[0].membership->learn(old_records, cluster.at()));
    EXPECT_EQ(cluster.nodes[0].connected[restarted], "tcp://192.0.2.1:9999")
        << "an old record changes nothing";
    EXPECT_EQ(cluster.view_of(0), (Members{0, 1, 2}));
}

TEST(Membership, Regions_reach_everybody_and_a_restart_in_another_one_changes_the_view) {
    Cluster cluster;
    const auto start_in = [&](std::size_t node, const std::string& region) {
        cluster.options.region = region;
        cluster.start(node);
    };
    for (const char* region : {"north", "south", "", "north"}) start_in(cluster.add(), region);
    for (std::size_t i = 1; i < 4; ++i)
        cluster.carry_out(
            i, cluster.nodes[i].membership->learn(cluster.nodes[0].membership->records(), cluster.at()));
    cluster.run_for(5);
    const auto expect_regions = [&](const std::vector<std::string>& by_node) {
        for (const auto& node : cluster.nodes) {
            const View& view = node.membership->view();
            ASSERT_EQ(view.size(), 4U);
            for (std::size_t i = 0; i < 4; ++i)
                EXPECT_EQ(view.regions[*view.index_of(cluster.nodes[i].identity.id())], by_node[i]);
        }
    };
    expect_regions({"north", "south", "", "north"});
    for (const MemberStatus& row : cluster.nodes[0].membership->members(cluster.now))
        EXPECT_EQ(row.region, row.name == "n2" ? "" : row.name == "n1" ? "south" : "north");
    cluster.kill(3);
    cluster.nodes[3].incarnation = 101;
    start_in(3, "west");
    cluster.run_for(3);
    expect_regions({"north", "south", "", "west"});
    EXPECT_NE(cluster.nodes[0].views.back().reason.find("is in region west now"), std::string::npos)
        << cluster.nodes[0].views.back().reason;
}

TEST(Membership, A_restart_whose_clock_stood_still_or_went_back_refutes_its_old_record) {
    for (const std::uint64_t incarnation : {100U, 40U}) {
        Cluster cluster;
        cluster.start_all(3);
        cluster.run_for(5);
        cluster.kill(2);
        cluster.nodes[2].incarnation = incarnation;
        cluster.nodes[2].port = 9999;
        cluster.start(2);
        cluster.run_for(5);
        EXPECT_EQ(cluster.nodes[0].connected[cluster.nodes[2].identity.id()], "tcp://192.0.2.1:9999")
            << incarnation;
        EXPECT_EQ(cluster.state(0, 2), "alive");
        for (const MemberStatus& row : cluster.nodes[0].membership->members(cluster.now)) {
            EXPECT_EQ(row.incarnation, row.name == "n2" ? 101U : 100U);
        }
    }
}

TEST(Membership, Views_agree_with_the_truth_after_any_churn) {
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
        SCOPED_TRACE(seed);
        Rng rng(seed);
        Cluster cluster;
        constexpr std::size_t kNodes = 6;
        cluster.start_all(kNodes);
        cluster.run_for(5);
        std::set<std::pair<std::size_t, std::size_t>> cut;
        cluster.passes = [&](std::size_t from, std::size_t to, const Body&) {
            return !cut.contains({std::min(from, to), std::max(from, to)}) && rng.below(10) != 0;
        };
        for (int event = 0; event < 30; ++event) {
            const std::size_t who = rng.below(kNodes);
            const std::size_t other = rng.below(kNodes);
            auto& node = cluster.nodes[who];
            switch (rng.below(4)) {
                case 0:
                    if (node.membership && who != 0)
                        rng.below(2) == 0 ? cluster.kill(who) : cluster.leave(who);
                    break;
                case 1:
                    if (!node.membership) {
                        node.incarnation += rng.below(3);
                        node.port = static_cast<std::uint16_t>(9000 + rng.below(1000));
                        cluster.start(who);
                    }
                    break;
                case 2: cut.insert({std::min(who, other), std::max(who, other)}); break;
                default: cut.clear();
            }
            cluster.run_for(1 + rng.uniform() * 8);
        }
        cluster.passes = [](std::size_t, std::size_t, const Body&) { return true; };
        cluster.run_for(20);
        Members living;
        for (std::size_t i = 0; i < kNodes; ++i) {
            if (cluster.nodes[i].membership) living.insert(i);
        }
        for (const std::size_t i : living) EXPECT_EQ(cluster.view_of(i), living) << i;
    }
}

TEST(Membership, A_newcomer_is_let_in_by_its_invite_and_everybody_hears_of_it) {
    Cluster cluster;
    cluster.start_all(3);
    cluster.run_for(5);
    const std::size_t newcomer = cluster.add();
    auto& node = cluster.nodes[newcomer];
    const MemberRecord record = make_member_record(node.identity, node.certificate, "new", "", 7);
    cluster.send(newcomer, 0, JoinRequest{record.encode()});
    cluster.run_for(1);
    ASSERT_EQ(node.replies.size(), 1U);
    EXPECT_TRUE(node.replies[0].accepted) << node.replies[0].reason;
    EXPECT_EQ(node.replies[0].run_config, "[run]\n");
    ASSERT_EQ(node.replies[0].records.size(), 4U);
    EXPECT_EQ(MemberRecord::decode(node.replies[0].records[0])->member(), cluster.nodes[0].identity.id());
    for (std::size_t i = 0; i < 3; ++i)
        EXPECT_TRUE(cluster.nodes[i].connected.contains(node.identity.id())) << i;
    node.saved = node.replies[0].records;
    cluster.start(newcomer);
    cluster.run_for(3);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(cluster.view_of(i), (Members{0, 1, 2, 3})) << i;
}

TEST(Membership, Joins_that_do_not_hold_are_refused_in_words) {
    Cluster cluster;
    cluster.start_all(1);
    const std::size_t newcomer = cluster.add();
    auto& node = cluster.nodes[newcomer];
    const auto answer = [&](const Certificate& certificate, const Identity& who) {
        const MemberRecord record = make_member_record(who, certificate, "new", "", 7);
        cluster.send(newcomer, 0, JoinRequest{record.encode()});
        cluster.run_for(0.5);
        const JoinReply reply = node.replies.back();
        EXPECT_TRUE(reply.records.empty() || reply.accepted);
        EXPECT_TRUE(reply.run_config.empty() || reply.accepted);
        return reply.accepted ? "accepted" : reply.reason;
    };
    const auto contains = [](const std::string& text, const char* part) {
        return text.find(part) != std::string::npos;
    };

    testing::TestRun other = {.id = blake2b(as_byte_view("another run"))};
    EXPECT_PRED2(contains, answer(other.certificate(node.identity.id()), node.identity), "another run");
    other = {.owner = identity_named("another owner")};
    EXPECT_PRED2(contains, answer(other.certificate(node.identity.id()), node.identity), "belongs to");
    const Identity somebody = identity_named("somebody");
    EXPECT_PRED2(contains, answer(cluster.run.certificate(somebody.id()), somebody), "asks for another key");

    const Invite once = cluster.run.invite();
    EXPECT_EQ(answer(certify(once.grant, once.token, node.identity.id()), node.identity), "accepted");
    const std::size_t second = cluster.add();
    const MemberRecord record =
        make_member_record(cluster.nodes[second].identity,
                           certify(once.grant, once.token, cluster.nodes[second].identity.id()), "x", "", 7);
    cluster.send(second, 0, JoinRequest{record.encode()});
    cluster.run_for(0.5);
    EXPECT_PRED2(contains, cluster.nodes[second].replies.back().reason, "used up");

    cluster.now += kDay + 1;
    EXPECT_PRED2(contains, answer(cluster.run.certificate(node.identity.id()), node.identity),
                 "invite expired at 2027-01-16");

    cluster.options.run_config.clear();
    cluster.start(0);
    EXPECT_PRED2(contains, answer(cluster.run.certificate(node.identity.id()), node.identity),
                 "lets nobody in");
}

TEST(Membership, A_used_invite_stays_used_when_its_user_leaves_and_the_node_restarts) {
    Cluster cluster;
    cluster.start_all(1);
    const Invite once = cluster.run.invite();
    std::vector<std::string> reasons;
    for (int i = 0; i < 2; ++i) {
        const std::size_t newcomer = cluster.add();
        auto& node = cluster.nodes[newcomer];
        const Certificate certificate = certify(once.grant, once.token, node.identity.id());
        cluster.send(newcomer, 0,
                     JoinRequest{make_member_record(node.identity, certificate, "x", "", 7).encode()});
        cluster.run_for(0.5);
        reasons.push_back(node.replies.back().reason);
        cluster.send(newcomer, 0, Leave{"done"});
        cluster.run_for(0.5);
        cluster.kill(0);
        ++cluster.nodes[0].incarnation;
        cluster.start(0);
    }
    EXPECT_EQ(reasons[0], "");
    EXPECT_NE(reasons[1].find("used up"), std::string::npos) << reasons[1];
}

TEST(Membership, Forged_and_altered_records_are_ignored_and_noted_once) {
    Cluster cluster;
    cluster.start_all(2);
    cluster.run_for(3);
    const Identity thief = identity_named("thief");
    const testing::TestRun foreign = {.owner = identity_named("another owner")};
    const Bytes stranger =
        make_member_record(thief, foreign.certificate(thief.id()), "eve", "tcp://192.0.2.66:1", 5).encode();
    Bytes altered = cluster.nodes[1].saved.front();
    altered[altered.size() - 70] ^= std::byte{1};
    auto beat_of_1 = [&] {
        const MemberRecord own = MemberRecord::decode(cluster.nodes[1].saved.front()).value();
        return Heartbeat{.incarnation = own.incarnation,
                         .name = own.name,
                         .address = own.address,
                         .certificate = own.certificate.encode(),
                         .statement = own.signature,
                         .others = {stranger, altered, Bytes(10), Bytes(kMemberRecordBytesMax)}};
    };
    const std::size_t notes = cluster.nodes[0].notes.size();
    for (int i = 0; i < 5; ++i) cluster.send(1, 0, beat_of_1());
    Heartbeat posing = beat_of_1();
    posing.incarnation += 5;  // not what was signed
    cluster.send(1, 0, posing);
    cluster.run_for(1);
    EXPECT_EQ(cluster.view_of(0), (Members{0, 1}));
    EXPECT_FALSE(cluster.nodes[0].connected.contains(thief.id()));
    EXPECT_EQ(cluster.nodes[0].notes.size(), notes + 3) << "thief, the altered record, the record of nobody";
}

TEST(Membership, A_heartbeat_in_the_name_of_another_is_not_heard) {
    Cluster cluster;
    cluster.start_all(3);
    cluster.run_for(5);
    cluster.kill(2);
    cluster.run_for(12);
    ASSERT_EQ(cluster.view_of(0), (Members{0, 1}));
    const MemberRecord dead = MemberRecord::decode(cluster.nodes[2].saved.front()).value();
    cluster.send(1, 0,
                 Heartbeat{.incarnation = dead.incarnation,
                           .name = dead.name,
                           .address = dead.address,
                           .certificate = dead.certificate.encode(),
                           .statement = dead.signature});
    cluster.run_for(1);
    EXPECT_EQ(cluster.view_of(0), (Members{0, 1}));
}

TEST(Membership, An_expired_certificate_ends_membership) {
    Cluster cluster;
    cluster.start_all(2);
    cluster.run_for(3);
    cluster.now = 10.0 * kDay - 2;
    cluster.run_for(0.9);
    EXPECT_EQ(cluster.state(0, 1), "alive");
    cluster.run_for(4);
    EXPECT_EQ(cluster.view_of(0), (Members{0}));
    EXPECT_EQ(cluster.state(0, 1), "unknown");
    EXPECT_TRUE(cluster.nodes[0].connected.empty());
    EXPECT_NE(cluster.nodes[0].views.back().reason.find("certificate expired"), std::string::npos);
}

TEST(Membership, Heartbeats_carry_the_progress_of_the_algorithm) {
    Cluster cluster;
    cluster.start_all(2);
    const auto progress = [&](double loss) {
        const Message message{cluster.nodes[1].identity.id(), ProgressMade{3, 150, 9000, loss}, {}};
        cluster.carry_out(1, cluster.nodes[1].membership->handle(message, cluster.at()));
    };
    progress(1.5);
    progress(std::nan(""));
    cluster.run_for(3);
    const auto rows = cluster.nodes[0].membership->members(cluster.now);
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[1].progress.round, 3U);
    EXPECT_EQ(rows[1].progress.tokens, 9000U);
    EXPECT_EQ(rows[1].progress.loss, 1.5);
}

}  // namespace
}  // namespace Atoll::gossip

#include "gossip/run_membership.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>

#include "tests/gossip/trust_fixture.h"

namespace Atoll::gossip {
namespace {

using testing::identity_named;
using testing::kNow;
using testing::TestRun;

// A host in which time passes by waiting, messages arrive at set times, and it stops at a set time.
class ScriptedHost : public Host {
  public:
    struct Sent {
        double time;
        PeerId to;
        Body body;
    };
    struct Returned final : Activity {
        void join() override {}
    };
    PeerId self_id;
    double clock = 0;
    double stop_at = 10;
    std::deque<std::pair<double, Message>> arriving;  // in order of time
    std::vector<Sent> sent;
    std::map<PeerId, std::string> connected;

    PeerId self() const override { return self_id; }
    double now() const override { return clock; }
    double unix_time() const override { return kNow + clock; }
    void sleep(double seconds) override { clock += seconds; }
    bool stopping() const override { return clock >= stop_at; }
    std::unique_ptr<Activity> spawn(std::string, std::function<void()> body) override {
        body();
        return std::make_unique<Returned>();
    }
    void connect(const PeerId& peer, const std::string& address) override { connected[peer] = address; }
    void disconnect(const PeerId& peer) override { connected.erase(peer); }
    Status send(const PeerId& to, Body body, SharedBytes) override {
        sent.push_back({clock, to, std::move(body)});
        return refuse ? Status(Error{ErrorCode::unavailable, "not connected"}) : Status();
    }
    std::optional<Message> receive(Topic topic, double deadline) override {
        EXPECT_EQ(topic, Topic::membership);
        if (!arriving.empty() && arriving.front().first <= deadline) {
            clock = std::max(clock, arriving.front().first);
            Message message = std::move(arriving.front().second);
            arriving.pop_front();
            return message;
        }
        clock = std::max(clock, std::min(deadline, stop_at));
        return std::nullopt;
    }
    Traffic traffic() const override { return {}; }

    bool refuse = false;
};

class RunMembership : public ::testing::Test {
  protected:
    RunMembership() {
        host_.self_id = me_.id();
        const MemberRecord record =
            make_member_record(other_, run_.certificate(other_.id()), "other", "tcp://192.0.2.9:1", 5);
        beat_ = {.incarnation = 5,
                 .name = "other",
                 .address = "tcp://192.0.2.9:1",
                 .certificate = record.certificate.encode(),
                 .statement = record.signature};
    }
    template <typename Kind>
    std::vector<ScriptedHost::Sent> sent(const PeerId& to) const {
        std::vector<ScriptedHost::Sent> found;
        std::ranges::copy_if(host_.sent, std::back_inserter(found), [&](const auto& message) {
            return message.to == to && std::holds_alternative<Kind>(message.body);
        });
        return found;
    }

    TestRun run_;
    Identity me_ = identity_named("me");
    Identity other_ = identity_named("other");
    Membership membership_{me_, run_.authority(),   run_.certificate(me_.id()), "me", "",
                           1,   {.dead_seconds = 4}};
    ScriptedHost host_;
    Heartbeat beat_;
};

TEST_F(RunMembership, Tells_the_algorithm_of_every_view_and_says_goodbye) {
    host_.arriving.push_back({2.5, {other_.id(), beat_, {}}});
    std::size_t observed = 0;
    run_membership(host_, membership_, [&](const Membership&) { ++observed; });
    EXPECT_EQ(host_.connected.at(other_.id()), "tcp://192.0.2.9:1");
    const auto views = sent<ViewChanged>(me_.id());
    ASSERT_EQ(views.size(), 2U);
    EXPECT_EQ(views[0].time, 2.5);
    EXPECT_EQ(std::get<ViewChanged>(views[0].body).view.size(), 2U);
    EXPECT_NEAR(views[1].time, 6.5, 1) << "dead after 4 s, noticed at the next heartbeat";
    EXPECT_EQ(std::get<ViewChanged>(views[1].body).view.size(), 1U);
    EXPECT_EQ(sent<Heartbeat>(other_.id()).size(), 8U) << "at 3, 4, ... 10: silent peers are still called";
    ASSERT_EQ(sent<Leave>(other_.id()).size(), 1U);
    EXPECT_EQ(sent<Leave>(other_.id())[0].time, 10);
    EXPECT_GE(observed, 10U);
}

TEST_F(RunMembership, Passes_the_progress_of_the_algorithm_on) {
    host_.arriving.push_back({0.1, {other_.id(), beat_, {}}});
    host_.arriving.push_back({0.2, {me_.id(), ProgressMade{4, 200, 12345, 2.25}, {}}});
    host_.stop_at = 1.5;
    run_membership(host_, membership_);
    const auto beats = sent<Heartbeat>(other_.id());
    ASSERT_EQ(beats.size(), 1U);
    EXPECT_EQ(std::get<Heartbeat>(beats[0].body).round, 4U);
    EXPECT_EQ(std::get<Heartbeat>(beats[0].body).loss, 2.25);
}

TEST_F(RunMembership, Goes_on_when_nothing_can_be_sent) {
    host_.refuse = true;
    host_.arriving.push_back({0.1, {other_.id(), beat_, {}}});
    run_membership(host_, membership_);
    EXPECT_TRUE(host_.stopping());
    EXPECT_GE(sent<Heartbeat>(other_.id()).size(), 9U);
}

}  // namespace
}  // namespace Atoll::gossip

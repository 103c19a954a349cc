// The smaller parts of a running node: durations, the home folder, the HTTP pages.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "node/duration.h"
#include "node/home.h"
#include "node/http_state.h"

namespace Atoll::node {
namespace {

TEST(Duration, takes_a_count_and_a_unit) {
    EXPECT_EQ(*parse_duration("90s"), 90U);
    EXPECT_EQ(*parse_duration("30m"), 1800U);
    EXPECT_EQ(*parse_duration("24h"), 86400U);
    EXPECT_EQ(*parse_duration("7d"), 604800U);
    for (const char* text :
         {"", "h", "0h", "-1h", "1.5h", "24", "24 h", "1w", "99999999999999999999d", "4000000d"}) {
        const auto parsed = parse_duration(text);
        ASSERT_FALSE(parsed.ok()) << text;
        EXPECT_EQ(parsed.error().code, ErrorCode::invalid) << text;
    }
}

class HomeFolder : public testing::Test {
  protected:
    ~HomeFolder() override { std::filesystem::remove_all(path_); }
    std::filesystem::path path_ =
        std::filesystem::temp_directory_path() / ("atoll_home_" + std::to_string(getpid()));
    Home home_ = Home::find(path_.string()).value();
    Hash run_ = blake2b(as_byte_view("run"));
};

TEST_F(HomeFolder, incarnations_rise_whatever_the_clock_does) {
    const auto next = [this](std::uint64_t clock) { return home_.next_incarnation(run_, clock).value(); };
    EXPECT_EQ(next(1'800'000'000), 1'800'000'000U);
    EXPECT_EQ(next(1'800'000'000), 1'800'000'001U) << "two starts in one second";
    EXPECT_EQ(next(1'800'000'500), 1'800'000'500U);
    EXPECT_EQ(next(1'700'000'000), 1'800'004'100U) << "the clock has gone back: an hour after the last";
    EXPECT_EQ(next(1'800'010'000), 1'800'010'000U);
    ASSERT_TRUE(write_file(home_.run(run_) / "incarnation", std::string_view("soon\n")).ok());
    EXPECT_EQ(home_.next_incarnation(run_, 1'800'020'000).error().code, ErrorCode::corrupt);
}

TEST_F(HomeFolder, remembers_members_and_where_the_node_runs) {
    EXPECT_TRUE(home_.load_members(run_).empty());
    EXPECT_EQ(home_.load_running().error().code, ErrorCode::not_found);
    const std::vector<Bytes> records{Bytes(300, std::byte{1}), Bytes(2, std::byte{0xff})};
    ASSERT_TRUE(home_.save_members(run_, records).ok());
    EXPECT_EQ(home_.load_members(run_), records);
    ASSERT_TRUE(home_.save_running({"r", "p", "tcp://127.0.0.1:1", "127.0.0.1:2", "f"}).ok());
    EXPECT_EQ(home_.load_running()->http, "127.0.0.1:2");
}

TEST_F(HomeFolder, a_damaged_line_of_members_is_skipped) {
    ASSERT_TRUE(write_file(home_.run(run_) / "members", std::string_view("00ff\nnonsense\n\nabc\n01")).ok());
    EXPECT_EQ(home_.load_members(run_),
              (std::vector<Bytes>{{std::byte{0}, std::byte{0xff}}, {std::byte{1}}}));
}

TEST_F(HomeFolder, keeps_one_identity_and_refuses_a_foreign_certificate_file) {
    bool created = false;
    const auto first = load_or_create_identity(home_.node_key(), created);
    ASSERT_TRUE(first.ok() && created);
    const auto again = load_or_create_identity(home_.node_key(), created);
    ASSERT_TRUE(again.ok());
    EXPECT_FALSE(created);
    EXPECT_EQ(again->id(), first->id());
    ASSERT_TRUE(write_file(path_ / "certificate", std::string_view("not one")).ok());
    EXPECT_EQ(home_.load_certificate(path_ / "certificate").error().code, ErrorCode::corrupt);
    EXPECT_EQ(home_.load_certificate(path_ / "none").error().code, ErrorCode::not_found);
}

class Pages : public testing::Test {
  protected:
    void SetUp() override {
        board_.change([](NodeState& state) {
            state.peer = std::string(64, 'a');
            state.name = "isl\"and";
            state.round = 3;
            state.bytes_sent = 12345;
            gossip::MemberStatus member;
            member.name = "other";
            member.state = "alive";
            state.members.push_back(member);
            state.refusals["replayed"] = 2;
        });
        http_ = HttpState::start("127.0.0.1:0", board_).value();
    }
    NodeBoard board_;
    std::unique_ptr<HttpState> http_;
};

TEST_F(Pages, state_is_json_with_null_for_what_is_unknown) {
    const auto state = nlohmann::json::parse(http_get(http_->address(), "/api/state").value());
    EXPECT_EQ(state["round"], 3);
    EXPECT_EQ(state["name"], "isl\"and");
    EXPECT_TRUE(state["val_loss"].is_null());
    ASSERT_EQ(state["members"].size(), 1U);
    EXPECT_EQ(state["members"][0]["state"], "alive");
    EXPECT_EQ(state["refusals"]["replayed"], 2);
}

TEST_F(Pages, metrics_are_in_the_prometheus_text_format) {
    const std::string text = http_get(http_->address(), "/metrics").value();
    EXPECT_NE(text.find("# TYPE atoll_bytes_sent_total counter\natoll_bytes_sent_total 12345\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("atoll_peers{state=\"alive\"} 1\n"), std::string::npos) << text;
    EXPECT_NE(text.find("atoll_messages_refused_total{reason=\"replayed\"} 2\n"), std::string::npos) << text;
    EXPECT_EQ(text.find("atoll_loss "), std::string::npos) << text;  // not known yet
}

TEST_F(Pages, health_is_not_readiness) {
    EXPECT_EQ(http_get(http_->address(), "/healthz").value(), "ok\n");
    EXPECT_FALSE(http_get(http_->address(), "/readyz").ok());
    board_.change([](NodeState& state) { state.phase = "training"; });
    EXPECT_EQ(http_get(http_->address(), "/readyz").value(), "training\n");
    EXPECT_FALSE(http_get(http_->address(), "/stop").ok());
}

TEST_F(Pages, a_port_in_use_and_a_bad_address_are_clear_errors) {
    EXPECT_EQ(HttpState::start(http_->address(), board_).error().code, ErrorCode::failed);
    for (const char* address : {"nowhere", "127.0.0.1:", ":80", "127.0.0.1:99999", "127.0.0.1:http"}) {
        const auto started = HttpState::start(address, board_);
        ASSERT_FALSE(started.ok()) << address;
        EXPECT_EQ(started.error().code, ErrorCode::invalid) << address;
    }
}

TEST(PagesClient, nobody_there_is_unavailable) {
    EXPECT_EQ(http_get("127.0.0.1:1", "/api/state").error().code, ErrorCode::unavailable);
}

}  // namespace
}  // namespace Atoll::node

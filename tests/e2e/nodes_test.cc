// Three real nodes on loopback train together by invites; one is killed and started again.
#include "tests/e2e/nodes.h"

namespace Atoll::e2e {
namespace {

TEST_F(Nodes, train_together_and_survive_a_kill) {
    ASSERT_EQ(run({"keygen", "--owner", "--home", home(0), "--quiet"}), 0);
    Process nodes[] = {start_first(), Process({"--version"}, folder_ / "node1"),
                       Process({"--version"}, folder_ / "node2")};
    ASSERT_EQ(nodes[1].wait(), 0);
    ASSERT_EQ(nodes[2].wait(), 0);
    ASSERT_FALSE(state_when(0, nodes[0], [](const auto&) { return true; }).is_null()) << nodes[0].errors();
    const auto invite = run_json({"invite", "--config", path("run.toml"), "--home", home(0), "--uses", "2"});
    const std::string text = invite.at("invite");
    for (const int i : {1, 2}) nodes[i] = join(i, text);

    const auto underway = state_when(2, nodes[2], [](const auto& state) { return state["round"] >= 3; });
    ASSERT_FALSE(underway.is_null()) << nodes[2].errors();
    EXPECT_EQ(underway["view"]["members"], 3);
    EXPECT_EQ(nodes[2].signal(SIGKILL), 128 + SIGKILL);
    const auto without =
        state_when(0, nodes[0], [&](const auto& state) { return state["rounds_incomplete"] > 0; });
    ASSERT_FALSE(without.is_null()) << nodes[0].errors();
    nodes[2] = join(2, text);

    for (Process& node : nodes) {
        ASSERT_EQ(node.wait(), 0) << node.errors();
        const auto result = node.json();
        ASSERT_TRUE(result.is_object()) << node.errors();
        EXPECT_EQ(result["rounds"], 40);
        EXPECT_LT(result["val_loss"], 2.5);  // of 5.5 untrained: seven words, learned
        EXPECT_GT(result["bytes_data_parallel"], result["bytes_sent"]);
    }
    EXPECT_NE(nodes[2].errors().find("continuing at round"), std::string::npos) << nodes[2].errors();
    fs::remove_all(folder_);
}

TEST_F(Nodes, an_interrupt_saves_and_the_next_start_continues) {
    ASSERT_EQ(run({"keygen", "--owner", "--home", home(0), "--quiet"}), 0);
    const auto alone = [&] {
        std::vector<std::string> arguments{"node", path("run.toml"), "--set", "run.members_min=1"};
        for (const auto& argument : common(0)) arguments.push_back(argument);
        return Process(arguments, folder_ / "node0");
    };
    Process node = alone();
    ASSERT_FALSE(state_when(0, node, [](const auto& state) { return state["step"] >= 5; }).is_null())
        << node.errors();
    EXPECT_EQ(node.signal(SIGTERM), 130) << node.errors();
    const auto stopped = node.json();
    EXPECT_TRUE(stopped["interrupted"]);
    node = alone();
    EXPECT_EQ(node.wait(), 0) << node.errors();
    EXPECT_EQ(node.json()["steps"], 400);
    EXPECT_NE(node.errors().find("continuing at round"), std::string::npos) << node.errors();
    fs::remove_all(folder_);
}

TEST_F(Nodes, wrong_invites_and_foreign_runs_are_refused_in_words) {
    Process garbled({"join", "atoll://AAAA", "--data", path("data"), "--home", home(1)}, folder_ / "bad");
    EXPECT_EQ(garbled.wait(), 1);
    EXPECT_NE(garbled.errors().find("invite"), std::string::npos) << garbled.errors();
    Process stranger({"node", path("run.toml"), "--data", path("data"), "--home", home(1)},
                     folder_ / "stranger");
    EXPECT_EQ(stranger.wait(), 1);
    EXPECT_NE(stranger.errors().find("certificate"), std::string::npos) << stranger.errors();
    EXPECT_FALSE(fs::exists(folder_ / "runs"));
    fs::remove_all(folder_);
}

}  // namespace
}  // namespace Atoll::e2e

// The demo with real processes: four nodes, one of them killed and started again.
#include <gmock/gmock.h>

#include "tests/e2e/run_atoll.h"

namespace Atoll::e2e {
namespace {

class Demo : public RunAtoll {};

TEST_F(Demo, Four_nodes_learn_together_and_a_killed_one_takes_part_again) {
    const Said said = atoll(
        "demo --kill --seconds 12 --json --quiet --set model.layers=1 --set model.context=64 --set "
        "optimizer.batch_sequences=4 "
        "--set algorithm.inner_steps=30 --set run.rounds=10 --set averaging.deadline_seconds=3");
    ASSERT_EQ(said.exit_code, 0) << said.error << said.out;
    const auto object = said.json();
    ASSERT_TRUE(object.is_object()) << said.out;
    ASSERT_EQ(object["nodes"].size(), 4U);
    ASSERT_EQ(object["bytes_sent_per_node"].size(), 4U);
    EXPECT_EQ(object["killed"], true);
    EXPECT_EQ(object["others_went_on"], true);
    EXPECT_EQ(object["recovered"], true);
    EXPECT_THAT(object["resumed_from"].get<std::string>(), testing::HasSubstr("checkpoint/step-"));
    EXPECT_GT(object["round_at_return"].get<int>(), object["round_at_kill"].get<int>());
    EXPECT_LT(object["val_loss"].get<double>(), object["val_loss_start"].get<double>() - 1);
    for (const auto& node : object["nodes"]) {
        EXPECT_EQ(node["rounds"], 10) << node.dump();
        EXPECT_LT(node["val_loss"].get<double>(), object["val_loss_start"].get<double>() - 1) << node.dump();
        EXPECT_GT(node["bytes_sent"].get<double>(), 0);
    }
    EXPECT_GT(object["traffic_ratio"].get<double>(), 10);
    EXPECT_FALSE(object["sample"].get<std::string>().empty());
    EXPECT_TRUE(std::filesystem::exists(folder / object["run_folder"].get<std::string>() / "report.html"));
}

TEST_F(Demo, Learns_from_a_file_of_the_users) {
    std::string text;
    for (int i = 0; i < 4000; ++i)
        text += "the " + std::to_string(i % 13) + " small waves came in one after another\n";
    write("waves.txt", text);
    const Said said = atoll(
        "demo --nodes 2 --data waves.txt --seconds 3 --json --quiet --set model.layers=1 --set "
        "model.context=64");
    ASSERT_EQ(said.exit_code, 0) << said.error;
    EXPECT_EQ(said.json()["killed"], false);
    EXPECT_EQ(said.json()["recovered"], false);
    EXPECT_LT(said.json()["val_loss"].get<double>(), said.json()["val_loss_start"].get<double>());
}

TEST_F(Demo, Refuses_what_makes_no_sense) {
    EXPECT_EQ(atoll("demo --nodes 1 --kill").exit_code, 2);
    EXPECT_EQ(atoll("demo --seconds 0").exit_code, 2);
    EXPECT_EQ(atoll("demo --data missing.txt --seconds 2").exit_code, 1);
}

}  // namespace
}  // namespace Atoll::e2e

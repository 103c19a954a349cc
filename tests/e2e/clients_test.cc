// A federated run for real: a server, clients that join by invites with data of their own, one of them killed
// and started again, one that leaves.
#include "tests/e2e/nodes.h"

namespace Atoll::e2e {
namespace {

class Clients : public Nodes {
  protected:
    Clients(int rounds, std::string algorithm) : rounds_(rounds), algorithm_(std::move(algorithm)) {}
    [[nodiscard]] std::string run_toml() const override {
        return R"(
[run]
name = "federated"
members_min = 3
rounds = )" + std::to_string(rounds_) +
               R"(
[model]
context = 32
layers = 1
heads = 2
kv_heads = 2
width = 32
inner = 64
head_dim = 16
[data]
assignment = "same"
[schedule]
name = "constant"
warmup_steps = 0
[codec]
name = "int8_block"
[averaging]
name = "star"
deadline_seconds = 5.0
[local]
threads = 1
validation_rounds = 10
validation_batches = 2
tensorboard = false
)" + algorithm_;
    }
    // Starts the owner's node, lets two clients in, and returns the invite.
    std::string begin(Process (&nodes)[3]) {
        EXPECT_EQ(run({"keygen", "--owner", "--home", home(0), "--quiet"}), 0);
        nodes[0] = start_first();
        EXPECT_FALSE(state_when(0, nodes[0], [](const auto&) { return true; }).is_null());
        const auto invite = run_json(
            {"invite", "--config", path("run.toml"), "--home", home(0), "--uses", "2", "--role", "client"});
        const std::string text = invite.at("invite");
        for (const int i : {1, 2}) nodes[i] = join(i, text);
        return text;
    }
    Process idle() { return Process({"--version"}, folder_ / "idle"); }

    int rounds_;

  private:
    std::string algorithm_;
};

class FedAvgClients : public Clients {
  protected:
    FedAvgClients()
        : Clients(30,
                  "[optimizer]\nbatch_sequences = 2\nlearning_rate = 3e-3\n"
                  "[algorithm]\nname = \"fedavg\"\ninner_steps = 10\nround_seconds = 20.0\n") {}
};

class FocusClients : public Clients {
  protected:
    FocusClients()
        : Clients(200,  // enough for a client to be stopped and to come back to leave
                  "[optimizer]\nname = \"sgd\"\nbatch_sequences = 2\nlearning_rate = 0.5\n"
                  "beta1 = 0.0\nweight_decay = 0.0\n"
                  "[algorithm]\nname = \"focus\"\ninner_steps = 3\nround_seconds = 20.0\nserver_wait_seconds "
                  "= 60.0\n"
                  "participation = \"bernoulli\"\nparticipation_low = 0.6\n") {}
};

TEST_F(FedAvgClients, train_with_a_server_and_one_comes_back_from_a_kill) {
    Process nodes[] = {idle(), idle(), idle()};
    for (Process& node : nodes) ASSERT_EQ(node.wait(), 0);
    const std::string invite = begin(nodes);
    const auto underway = state_when(2, nodes[2], [](const auto& state) { return state["round"] >= 3; });
    ASSERT_FALSE(underway.is_null()) << nodes[2].errors();
    EXPECT_EQ(nodes[2].signal(SIGKILL), 128 + SIGKILL);
    nodes[2] = join(2, invite);
    for (Process& node : nodes) {
        ASSERT_EQ(node.wait(), 0) << node.errors();
        const auto result = node.json();
        ASSERT_TRUE(result.is_object()) << node.errors();
        EXPECT_EQ(result["rounds"], rounds_);
        EXPECT_LT(result["val_loss"], 3.0);  // of 5.5 untrained
    }
    EXPECT_NE(nodes[2].errors().find("continuing at round"), std::string::npos) << nodes[2].errors();
    // All end with the server's model.
    const auto loss_of = [&](const char* folder) {
        return run_json({"eval", "--model", path(folder), "--data", path("data")}).at("loss");
    };
    EXPECT_EQ(nodes[1].json()["val_loss"], nodes[2].json()["val_loss"]);
    EXPECT_EQ(loss_of("run1"), loss_of("run0"));
    EXPECT_EQ(loss_of("run2"), loss_of("run0"));
    fs::remove_all(folder_);
}

TEST_F(FocusClients, outlive_a_kill_of_the_server_and_a_client_that_leaves) {
    Process nodes[] = {idle(), idle(), idle()};
    for (Process& node : nodes) ASSERT_EQ(node.wait(), 0);
    const std::string invite = begin(nodes);
    ASSERT_FALSE(state_when(0, nodes[0], [](const auto& state) { return state["round"] >= 3; }).is_null())
        << nodes[0].errors();
    EXPECT_EQ(nodes[0].signal(SIGKILL), 128 + SIGKILL);
    nodes[0] = start_first();
    ASSERT_FALSE(state_when(2, nodes[2], [](const auto& state) { return state["round"] >= 6; }).is_null())
        << nodes[2].errors();
    EXPECT_EQ(nodes[2].signal(SIGTERM), 130) << nodes[2].errors();
    Process leaving({"join", invite, "--data", path("data"), "--home", home(2), "--out", path("run2"),
                     "--leave", "--quiet"},
                    folder_ / "leaving");
    EXPECT_EQ(leaving.wait(), 0) << leaving.errors();
    for (const int i : {0, 1}) {
        ASSERT_EQ(nodes[i].wait(), 0) << nodes[i].errors();
        EXPECT_EQ(nodes[i].json()["rounds"], rounds_);
        EXPECT_LT(nodes[i].json()["val_loss"], 5.0);
    }
    EXPECT_NE(nodes[0].errors().find("continuing at round"), std::string::npos) << nodes[0].errors();
    fs::remove_all(folder_);
}

}  // namespace
}  // namespace Atoll::e2e

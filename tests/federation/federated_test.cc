// Federated runs over a network: convergence under participation laws, what is counted of whom, members that
// come, go and lose their state, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/federation/federated_cluster.h"

namespace Atoll::federation {
namespace {

using federation::testing::federated_run;
using federation::testing::FederatedCluster;
using federation::testing::UnequalClient;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr std::size_t kMembers = 6;
constexpr std::size_t kDimensions = UnequalClient::kDimensions;

FederatedCluster::MakeWorker unequal(double rate = 0.1) {
    return [rate](std::size_t i) { return std::make_unique<UnequalClient>(i, rate); };
}

// The minimum of the mean loss of these clients.
std::vector<double> optimum(FederatedCluster& cluster, const std::vector<std::size_t>& members) {
    std::vector<double> best;
    for (std::size_t j = 0; j < kDimensions; ++j) {
        double curvature = 0;
        double pull = 0;
        for (const std::size_t i : members) {
            const auto& client = dynamic_cast<UnequalClient&>(*cluster[i].worker);
            curvature += client.curvature(j);
            pull += client.curvature(j) * client.minimum(j);
        }
        best.push_back(pull / curvature);
    }
    return best;
}

double relative_error(std::span<const float> x, const std::vector<double>& best) {
    double error = 0;
    double size = 0;
    for (std::size_t j = 0; j < best.size(); ++j) {
        error += std::pow(static_cast<double>(x[j]) - best[j], 2);
        size += best[j] * best[j];
    }
    return std::sqrt(error / size);
}

std::vector<std::size_t> everybody() {
    std::vector<std::size_t> members;
    for (std::size_t i = 0; i < kMembers; ++i) members.push_back(i);
    return members;
}

double final_error(const RunConfig& config) {
    FederatedCluster cluster(config, kMembers, unequal(config.optimizer.learning_rate));
    EXPECT_TRUE(cluster.run_all());
    for (std::size_t i = 0; i < kMembers; ++i) {
        EXPECT_TRUE(cluster[i].status->ok()) << cluster[i].status->error().message;
        EXPECT_EQ(relative_error(cluster.parameters(i), optimum(cluster, everybody())),
                  relative_error(cluster.parameters(0), optimum(cluster, everybody())))
            << "all end with the server's model";
    }
    return relative_error(cluster.parameters(0), optimum(cluster, everybody()));
}

// fp32 ends the descent at about 1e-7; the same code in double precision goes on to 1e-12
// (tests/sims/federated_methods_test.cc).
TEST(Federated, Focus_comes_to_the_optimum_under_every_participation_law_and_fedavg_does_not) {
    struct Case {
        const char* law;
        double rate;
        std::int64_t rounds;
    };
    for (const Case& c :
         {Case{"full", 0.5, 120}, Case{"uniform", 0.2, 600}, Case{"bernoulli", 0.3, 500},
          Case{"markov", 0.3, 500}, Case{"cyclic", 0.2, 500}, Case{"categorical", 0.2, 700}}) {
        RunConfig config = federated_run("focus", c.rounds, c.rate);
        config.algorithm.federated.participation = c.law;
        if (c.law == std::string("uniform") || c.law == std::string("cyclic") ||
            c.law == std::string("categorical")) {
            config.algorithm.federated.participation_count = 2;
        }
        EXPECT_LT(final_error(config), 2e-6) << c.law;
        config.algorithm.name = "fedavg";
        EXPECT_GT(final_error(config), 1e-2) << c.law;
    }
}

TEST(Federated, The_servers_sum_is_what_the_clients_track_after_every_round) {
    for (const char* name : {"focus", "scaffold", "mifa"}) {
        for (const char* codec : {"none", "int8_block", "topk"}) {
            RunConfig config = federated_run(name, 30, 0.2);
            config.algorithm.federated.participation = "bernoulli";
            config.codec.name = codec;
            config.codec.error_feedback = codec != std::string("none");
            FederatedCluster cluster(config, 4, unequal(0.2));
            ASSERT_TRUE(cluster.run_all());
            const std::vector<float> sum = cluster.disks[0].vector("server.sum");
            for (std::size_t j = 0; j < kDimensions; ++j) {
                double tracked = 0;
                for (std::size_t i = 0; i < 4; ++i) {
                    // The last push of every client has been decided.
                    const std::string peer = cluster.network().id(i).text();
                    const auto own = cluster.disks[i].vector("own.tracked");
                    const auto copy = cluster.disks[0].vector("memory." + peer);
                    ASSERT_EQ(own[j], copy[j]) << name << " " << codec << " client " << i;
                    tracked += static_cast<double>(own[j]);
                }
                EXPECT_NEAR(sum[j], tracked, 1e-5 * std::max(1.0, std::abs(tracked))) << name << " " << codec;
            }
        }
    }
}

TEST(Federated, Compressed_pushes_come_to_the_optimum_too) {
    for (const char* codec : {"int8_block", "int4_block", "sign", "topk"}) {
        RunConfig config = federated_run("focus", 900, 0.15);
        config.codec.name = codec;
        config.codec.error_feedback = true;
        EXPECT_LT(final_error(config), 1e-5) << codec;
    }
}

TEST(Federated, A_client_that_expires_leaves_the_sum_and_comes_back_anew) {
    RunConfig config = federated_run("focus", 500, 0.3);
    config.algorithm.federated.expiry_rounds = 10;
    FederatedCluster cluster(config, 4, unequal());
    std::vector<float> without;
    cluster.network().at(2, [&] { cluster.restart(3, 5); });
    cluster[0].record.at_round = [&](const RoundReport& report, Algorithm&) {
        if (report.average.members == 3)
            without.assign(cluster.parameters(0).begin(), cluster.parameters(0).end());
    };
    ASSERT_TRUE(cluster.run_all());
    for (std::size_t i = 0; i < 4; ++i)
        ASSERT_TRUE(cluster[i].status->ok()) << cluster[i].status->error().message;
    EXPECT_LT(relative_error(without, optimum(cluster, {0, 1, 2})), 1e-5);
    EXPECT_LT(relative_error(cluster.parameters(0), optimum(cluster, {0, 1, 2, 3})), 1e-5);
}

TEST(Federated, A_client_that_leaves_takes_its_part_back) {
    for (const bool remember : {true, false}) {
        RunConfig config = federated_run("focus", 200, 0.3);
        config.algorithm.federated.remember_clients = remember;
        FederatedCluster cluster(config, 4, unequal());
        cluster.network().at(1, [&] {
            cluster[2].session.leave = true;
            cluster.restart(2, 0.5);
        });
        ASSERT_TRUE(cluster.run_all());
        for (std::size_t i = 0; i < 4; ++i)
            ASSERT_TRUE(cluster[i].status->ok()) << cluster[i].status->error().message;
        EXPECT_LT(relative_error(cluster.parameters(0), optimum(cluster, {0, 1, 3})), 2e-6);
        EXPECT_EQ(cluster.disks[2].vector("own.tracked"),
                  std::vector<float>(cluster.parameters(2).size(), 0.0F));
    }
}

TEST(Federated, A_client_that_lost_its_state_is_not_counted_twice) {
    RunConfig config = federated_run("focus", 300, 0.3);
    FederatedCluster cluster(config, 4, unequal());
    cluster.network().at(1, [&] {
        cluster.disks[2] = {};
        cluster.restart(2, 0.5);
    });
    ASSERT_TRUE(cluster.run_all());
    for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(cluster[i].status->ok());
    EXPECT_LT(relative_error(cluster.parameters(0), optimum(cluster, {0, 1, 2, 3})), 2e-6);

    // Where the server keeps no copy it cannot take the old part back: the client is told so.
    config.algorithm.federated.remember_clients = false;
    FederatedCluster forgetful(config, 4, unequal());
    forgetful.network().at(1, [&] {
        forgetful.disks[2] = {};
        forgetful.restart(2, 0.5);
    });
    ASSERT_TRUE(forgetful.run_all());
    ASSERT_FALSE(forgetful[2].status->ok());
    EXPECT_THAT(forgetful[2].status->error().message,
                HasSubstr("come back without its state, and the server keeps no copy"));
    EXPECT_TRUE(forgetful[0].status->ok());
}

TEST(Federated, A_late_client_is_welcome_and_its_first_gradient_enters_the_sum) {
    const RunConfig config = federated_run("focus", 300, 0.3);
    FederatedCluster cluster(config, 4, unequal());
    for (const std::size_t i : {0, 1, 2}) {
        cluster.start(i);
        cluster.network().announce_members_to(i, {0, 1, 2}, "start");
    }
    cluster[3].mode = JoinMode::late;
    cluster.network().at(2, [&] {
        cluster.start(3);
        cluster.network().announce_members("another");
    });
    ASSERT_TRUE(cluster.network().run());
    for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(cluster[i].status->ok());
    EXPECT_LT(relative_error(cluster.parameters(0), optimum(cluster, {0, 1, 2, 3})), 2e-6);
}

TEST(Federated, A_server_that_trains_alone_hears_of_a_late_client_and_of_one_that_comes_back) {
    const RunConfig config = federated_run("focus", 400, 0.3);
    FederatedCluster cluster(config, 2, unequal());
    cluster.start(0);
    cluster.network().announce_members_to(0, {0}, "start");
    cluster[1].mode = JoinMode::late;
    cluster.network().at(2, [&] {
        cluster.start(1);
        cluster.network().announce_members("another");
    });
    cluster.network().at(4, [&] { cluster.restart(1, 1); });
    ASSERT_TRUE(cluster.network().run());
    for (std::size_t i = 0; i < 2; ++i)
        ASSERT_TRUE(cluster[i].status->ok()) << cluster[i].status->error().message;
    EXPECT_LT(relative_error(cluster.parameters(0), optimum(cluster, {0, 1})), 2e-6);
}

TEST(Federated, A_server_without_data_of_its_own_counts_nothing_of_itself) {
    RunConfig config = federated_run("focus", 200, 0.5);
    config.algorithm.federated.server_trains = false;
    FederatedCluster cluster(config, 4, unequal());
    ASSERT_TRUE(cluster.run_all());
    for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(cluster[i].status->ok());
    EXPECT_LT(relative_error(cluster.parameters(0), optimum(cluster, {1, 2, 3})), 2e-6);
    EXPECT_TRUE(cluster[0].record.losses.empty());
}

TEST(Federated, Without_its_server_a_client_gives_up_in_words) {
    RunConfig config = federated_run("fedavg", 50);
    config.algorithm.federated.server_wait_seconds = 20;
    FederatedCluster cluster(config, 3, unequal());
    cluster.network().at(0.2, [&] {
        cluster.network().kill(0);
        cluster.network().announce_members("the server is gone");
    });
    ASSERT_TRUE(cluster.run_all());
    for (const std::size_t i : {1, 2}) {
        ASSERT_FALSE(cluster[i].status->ok());
        EXPECT_EQ(cluster[i].status->error().code, ErrorCode::unavailable);
        EXPECT_THAT(cluster[i].status->error().message, HasSubstr(cluster.network().id(0).short_name()));
    }
}

// Speaks to the server as a client would; returns the last receipt about it.
std::optional<gossip::MixReceipt> say(const RunConfig& config, gossip::StarHello hello, double clock_offset) {
    FederatedCluster cluster(config, 2, unequal());
    std::optional<gossip::MixReceipt> answer;
    cluster.start(0);
    cluster.network().start(1, "liar", [&] {
        gossip::Host& host = cluster.network().host(1);
        host.sleep(0.01);
        hello.birth = static_cast<std::uint64_t>(host.unix_time() * 1e6);
        hello.unix_time = host.unix_time() + clock_offset;
        EXPECT_TRUE(host.send(cluster.network().id(0), hello).ok());
        while (const auto message = host.receive(gossip::Topic::mixing, host.now() + 1)) {
            if (const auto* receipt = std::get_if<gossip::MixReceipt>(&message->body)) answer = *receipt;
        }
        cluster.network().stop(1);
    });
    cluster.network().announce_members("start");
    EXPECT_TRUE(cluster.network().run());
    EXPECT_TRUE(cluster[0].status->ok());
    return answer;
}

TEST(Federated, Other_shapes_and_a_wrong_clock_are_refused_in_words) {
    const RunConfig config = federated_run("fedavg", 3);
    const auto shapes = say(config, {.parameters = 17}, 0);
    ASSERT_TRUE(shapes);
    EXPECT_EQ(shapes->kind, gossip::ReceiptKind::refused);
    EXPECT_THAT(shapes->reason, HasSubstr("its model has 17 values, the run's has 16"));
    const auto clock = say(config, {.parameters = 16}, 4000);
    ASSERT_TRUE(clock);
    EXPECT_THAT(clock->reason, HasSubstr("its clock is 4000 s ahead of the server's"));
    EXPECT_FALSE(say(config, {.parameters = 16}, 1));
}

// A worker that has gone wrong: nothing to train on, or numbers that are none.
class BadClient : public UnequalClient {
  public:
    BadClient(std::uint64_t tokens, float factor) : UnequalClient(2, 0.1), tokens_(tokens), factor_(factor) {}
    Result<StepResult> gradient(std::span<float> gradient) override {
        ATOLL_ASSIGN(StepResult result, UnequalClient::gradient(gradient));
        for (float& g : gradient) g *= factor_;
        result.tokens = tokens_;
        return result;
    }

  private:
    std::uint64_t tokens_;
    float factor_;
};

TEST(Federated, Pushes_of_no_data_or_of_absurd_size_do_no_harm_and_are_named) {
    for (const auto& [tokens, factor, words] :
         {std::tuple{0UL, 1.0F, "it was trained on no data"}, std::tuple{1UL, 1e9F, "its norm of"}}) {
        const RunConfig config = federated_run("focus", 250, 0.3);
        FederatedCluster cluster(config, 3, [&](std::size_t i) -> std::unique_ptr<Worker> {
            if (i == 2) return std::make_unique<BadClient>(tokens, factor);
            return std::make_unique<UnequalClient>(i, 0.3);
        });
        ASSERT_TRUE(cluster.run_all());
        ASSERT_TRUE(cluster[0].status->ok());
        const auto& reasons = cluster[0].record.rounds.front().average.reasons;
        EXPECT_THAT(reasons, Contains(HasSubstr("refused the push of " +
                                                cluster.network().id(2).short_name() + ": " + words)));
        ASSERT_FALSE(cluster[2].record.rounds.empty());
        EXPECT_THAT(cluster[2].record.rounds.front().average.reasons, Contains(HasSubstr(words)));
        // What it did not send is not missed: the others come to their own optimum.
        EXPECT_LT(relative_error(cluster.parameters(0), optimum(cluster, {0, 1})), 1e-5);
    }
}

TEST(Federated, What_does_not_fit_is_refused_with_both_keys) {
    const auto refusal = [](const RunConfig& config) {
        const Status status = validate(config);
        return status.ok() ? std::string() : status.error().message;
    };
    for (const char* name :
         {"fedavg", "fedavgm", "fedadam", "fedyogi", "fedprox", "fedau", "mifa", "scaffold", "focus"}) {
        RunConfig config = federated_run(name, 30);
        EXPECT_EQ(refusal(config), "");
        config.averaging.name = "push_sum";
        EXPECT_THAT(refusal(config), HasSubstr("needs a server but averaging.name = push_sum has none"));
    }
    RunConfig config = federated_run("focus", 30);
    config.optimizer.beta1 = 0.9;
    EXPECT_THAT(refusal(config), HasSubstr("optimizer.beta1 = 0.9"));
    config = federated_run("focus", 30);
    config.algorithm.federated.server_momentum = 0.5;
    EXPECT_THAT(refusal(config), HasSubstr("algorithm.server_momentum = 0.5 but algorithm.name = focus"));
    config = federated_run("fedavg", 30);
    config.algorithm.federated.expiry_rounds = 5;
    EXPECT_THAT(refusal(config), HasSubstr("algorithm.expiry_rounds = 5 but algorithm.name = fedavg"));
    config = federated_run("fedavg", 30);
    config.algorithm.federated.participation_count = 5;
    EXPECT_THAT(refusal(config),
                HasSubstr("algorithm.participation_count = 5 but algorithm.participation = full"));
    config = federated_run("fedavg", 30);
    config.algorithm.federated.participation = "trace";
    EXPECT_THAT(refusal(config), HasSubstr("algorithm.participation_trace is empty"));
    config = federated_run("mifa", 30);
    config.algorithm.federated.remember_clients = false;
    config.algorithm.federated.expiry_rounds = 5;
    EXPECT_THAT(refusal(config), HasSubstr("algorithm.remember_clients = false"));
    config = federated_run("fedavg", 30);
    config.algorithm.outer_learning_rate = 0.5;
    EXPECT_THAT(refusal(config), HasSubstr("takes no outer step"));
    config = federation::testing::small_run();
    config.algorithm.federated.participation = "bernoulli";
    EXPECT_THAT(refusal(config), HasSubstr("algorithm.name = diloco"));
}

}  // namespace
}  // namespace Atoll::federation

// The synchronous algorithms train a very small transformer as well as plain data-parallel training does.
#include <gtest/gtest.h>

#include "tests/federation/member_cluster.h"
#include "tests/federation/replica_run.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::OwnedReplica;
using federation::testing::PairLanguage;

RunConfig replica_run(const std::string& algorithm, const std::string& optimizer, double rate,
                      std::int64_t batch_sequences) {
    RunConfig config = federation::testing::small_run();
    config.model = federation::testing::smallest_model();
    config.algorithm.name = algorithm;
    config.averaging.name = "all_reduce";
    config.optimizer.name = optimizer;
    config.optimizer.learning_rate = rate;
    config.optimizer.batch_sequences = batch_sequences;
    config.run.rounds = 50;
    config.schedule.warmup_steps = 20;
    return config;
}

// Held-out loss, in nats above the language's entropy, of three members after 250 steps.
double excess_of(const RunConfig& config) {
    Cluster cluster(config, 3, [&](std::size_t i) { return OwnedReplica::make(config, i); });
    EXPECT_TRUE(cluster.run_all());
    for (std::size_t m = 0; m < 3; ++m) {
        EXPECT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
        EXPECT_EQ(cluster[m].worker->step(), 250U);
    }
    return cluster[0].worker->validation_loss().value() - PairLanguage::kEntropy;
}

TEST(SynchronousReplica, Acco_learns_from_two_halves_what_data_parallel_learns_from_the_whole) {
    const double whole = excess_of(replica_run("data_parallel", "adamw", 3e-3, 4));
    RunConfig halves = replica_run("acco", "adamw", 3e-3, 2);
    halves.algorithm.batches_max = 1;
    const double acco = excess_of(halves);
    EXPECT_LT(whole, 1);
    EXPECT_LT(acco + PairLanguage::kEntropy, 1.02 * (whole + PairLanguage::kEntropy));
}

TEST(SynchronousReplica, A_majority_of_signs_learns_what_the_sign_of_the_mean_does) {
    const double mean = excess_of(replica_run("data_parallel", "lion", 1e-3, 2));
    const double vote = excess_of(replica_run("distributed_lion", "lion", 1e-3, 2));
    EXPECT_LT(mean, 1);
    EXPECT_LT(vote + PairLanguage::kEntropy, 1.04 * (mean + PairLanguage::kEntropy));
}

}  // namespace
}  // namespace Atoll::federation

// Ranks of one node are of one mind before they begin.
#include "node/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/rank_threads.h"

namespace Atoll::node {
namespace {

using fakes::run_ranks;
using testing::HasSubstr;

// What every one of three ranks says when rank 2 has other facts than the others.
void expect_refusal(const RankFacts& facts, const RankFacts& other, const std::string& message) {
    run_ranks(3, [&](std::unique_ptr<kernels::Star> star) {
        const Status status = compare_ranks(*star, star->rank() == 2 ? other : facts);
        ASSERT_FALSE(status.ok());
        EXPECT_EQ(status.error().code, ErrorCode::refused);
        EXPECT_THAT(status.error().message, HasSubstr(message));
    });
}

TEST(RankFacts, Another_build_is_named) {
    const Config config;
    const RankFacts facts = rank_facts(config);
    RankFacts other = facts;
    other.build = "0.0.9 (abc, a compiler, its flags)";
    expect_refusal(facts, other,
                   "rank 2 has the build 0.0.9 (abc, a compiler, its flags), rank 0 has " + facts.build +
                       ": install the same Atoll on all machines of the node");
}

TEST(RankFacts, Another_configuration_is_named) {
    Config config;
    const RankFacts facts = rank_facts(config);
    config.run.optimizer.learning_rate *= 2;
    const RankFacts other = rank_facts(config);
    expect_refusal(facts, other, "rank 2 has the run configuration " + other.configuration);
}

TEST(RankFacts, What_is_a_machines_own_business_may_differ) {
    Config config;
    const RankFacts facts = rank_facts(config);
    config.local.data = "elsewhere";
    config.local.threads = 7;
    const RankFacts other = rank_facts(config);
    run_ranks(2, [&](std::unique_ptr<kernels::Star> star) {
        EXPECT_TRUE(compare_ranks(*star, star->rank() == 1 ? other : facts).ok());
    });
}

TEST(NewestCheckpoint, Is_where_a_run_goes_on_after_an_error) {
    const Error error =
        with_newest_checkpoint({ErrorCode::failed, "rank 2 is gone"}, testing::TempDir() + "/none");
    EXPECT_EQ(error.code, ErrorCode::failed);
    EXPECT_EQ(error.message, "rank 2 is gone; there is no checkpoint yet");
}

}  // namespace
}  // namespace Atoll::node

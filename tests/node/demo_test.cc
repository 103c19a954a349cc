// The demo's decisions: how long to train, when to kill, what counts as a recovery.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "node/demo/drama.h"
#include "node/demo/plan.h"
#include "node/demo/table.h"

namespace Atoll::node {
namespace {

TEST(DemoLength, Rounds_of_sixty_steps_where_there_is_time) {
    EXPECT_EQ(demo_length(540).inner_steps, 60);
    EXPECT_EQ(demo_length(540).rounds, 9);
    EXPECT_EQ(demo_length(575).rounds, 10);
    EXPECT_EQ(demo_length(6000).rounds, 100);
}

TEST(DemoLength, Shorter_rounds_where_there_is_not) {
    EXPECT_EQ(demo_length(80).inner_steps, 20);
    EXPECT_EQ(demo_length(80).rounds, 4);
    EXPECT_EQ(demo_length(0.5).inner_steps, 1);
    EXPECT_EQ(demo_length(0.5).rounds, 4);
    for (double steps = 1; steps < 1000; steps *= 1.3) {
        const DemoLength length = demo_length(steps);
        EXPECT_GE(length.rounds, 4) << steps;
        EXPECT_LE(length.inner_steps, 60) << steps;
    }
}

std::vector<DemoNode> nodes_at(std::initializer_list<std::uint64_t> rounds) {
    std::vector<DemoNode> nodes;
    for (const std::uint64_t round : rounds) {
        DemoNode node;
        node.round = round;
        node.saved_step = round * 10;
        node.running = true;
        nodes.push_back(node);
    }
    return nodes;
}

TEST(Drama, Kills_after_two_fifths_and_returns_when_others_went_on) {
    Drama drama(2, 10, 10);
    EXPECT_EQ(drama.next(nodes_at({3, 3, 3}), 10), Drama::Act::nothing);
    EXPECT_EQ(drama.next(nodes_at({4, 4, 3}), 11), Drama::Act::nothing)
        << "the victim itself has to be there";
    auto early = nodes_at({4, 4, 4});
    early[2].saved_step = 30;
    EXPECT_EQ(drama.next(early, 11.5), Drama::Act::nothing) << "its checkpoint is not written yet";
    EXPECT_EQ(drama.next(nodes_at({4, 4, 4}), 12), Drama::Act::kill);
    EXPECT_EQ(drama.next(nodes_at({4, 4, 4}), 13), Drama::Act::nothing);
    EXPECT_EQ(drama.next(nodes_at({5, 4, 4}), 14), Drama::Act::restart);
    EXPECT_EQ(drama.next(nodes_at({9, 9, 9}), 15), Drama::Act::nothing);
}

TEST(Drama, Returns_after_a_while_even_if_nobody_went_on) {
    Drama drama(1, 10, 10);
    EXPECT_EQ(drama.next(nodes_at({4, 4}), 10), Drama::Act::kill);
    EXPECT_EQ(drama.next(nodes_at({4, 4}), 20), Drama::Act::nothing);
    EXPECT_EQ(drama.next(nodes_at({4, 4}), 41), Drama::Act::restart);
}

using Rounds = std::vector<std::vector<DemoRound>>;

TEST(Recovery, Holds_when_another_had_everybodys_share_in_a_round_after_the_return) {
    const Rounds rounds = {{{10, 1, 2, true}, {20, 2, 2, true}, {30, 3, 2, false}, {40, 4, 2, true}},
                           {{10, 1, 2, true}, {20, 2, 2, true}, {41, 4, 2, true}}};
    const Recovery recovery = judge_recovery(rounds, 1, 25, 35);
    EXPECT_TRUE(recovery.killed);
    EXPECT_TRUE(recovery.others_went_on);
    EXPECT_TRUE(recovery.recovered);
    EXPECT_EQ(recovery.round_at_kill, 2U);
    EXPECT_EQ(recovery.round_at_return, 4U);
}

TEST(Recovery, Does_not_hold_without_a_complete_round_of_all) {
    const Rounds alone = {{{10, 1, 2, true}, {30, 2, 1, true}, {40, 3, 1, true}},
                          {{10, 1, 2, true}, {41, 3, 1, true}}};
    EXPECT_FALSE(judge_recovery(alone, 1, 25, 35).recovered) << "they did not see each other";
    const Rounds incomplete = {{{10, 1, 2, true}, {40, 3, 2, false}}, {{10, 1, 2, true}, {41, 3, 2, true}}};
    EXPECT_FALSE(judge_recovery(incomplete, 1, 25, 35).recovered) << "its share did not arrive";
    const Rounds never = {{{10, 1, 2, true}, {40, 3, 2, true}}, {{10, 1, 2, true}}};
    EXPECT_FALSE(judge_recovery(never, 1, 25, 35).recovered) << "it finished no round again";
    const Rounds before = {{{10, 1, 2, true}}, {{10, 1, 2, true}}};
    EXPECT_FALSE(judge_recovery(before, 1, 25, 0).recovered) << "it was not started again";
    EXPECT_FALSE(judge_recovery(before, 1, 0, 0).killed);
}

TEST(DemoTable, Shows_every_node_in_a_row_of_equal_width) {
    auto nodes = nodes_at({3, 4});
    nodes[0].name = "island-1";
    nodes[0].peer = "0123456789abcdef";
    nodes[0].phase = "training";
    nodes[0].loss = 2.5;
    nodes[0].bytes_sent = 12'300'000;
    const auto lines = table_lines(nodes, 9);
    ASSERT_EQ(lines.size(), 3U);
    for (const auto& line : lines) EXPECT_EQ(line.size(), lines[0].size());
    EXPECT_THAT(lines[1], testing::HasSubstr("01234567 training"));
    EXPECT_THAT(lines[1], testing::HasSubstr("3/9"));
    EXPECT_THAT(lines[1], testing::HasSubstr("12.3MB"));
    EXPECT_THAT(summary_line(nodes, 9, 65), testing::HasSubstr("[1:05]"));
}

}  // namespace
}  // namespace Atoll::node

// The all-reduce whose owners take a step: values, weights, groups and rounds, in virtual time.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "gossip/averaging/averaging.h"
#include "gossip/averaging/shares.h"
#include "gossip/limits.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::gossip {
namespace {

using fakes::MemoryNetwork;

// Outcome: mean / 2 + 1e-4 x the sum of squares of the whole mean.
class TestStep final : public OwnerStep {
  public:
    std::uint32_t own_weight = 1;
    bool has_state = true;
    bool total_needed = true;
    std::vector<Run> owned;
    std::uint64_t seen_weight = 0;
    int finished = 0;

    std::uint32_t weight() const override { return own_weight; }
    bool may_own() const override { return has_state; }
    std::uint64_t rounds() const override { return 1000; }
    const Codec& outcome_codec() const override { return *codec_; }
    double outcome_norm() const override { return 0; }
    bool needs_total() const override { return total_needed; }
    void begin(std::span<const Run> runs, const Group& group) override {
        owned.assign(runs.begin(), runs.end());
        seen_weight = group.weight;
    }
    double measure(std::span<const float> mean) override {
        double sum = 0;
        for (const Run& run : owned) {
            for (std::size_t i = run.begin; i < run.end; ++i) sum += double{mean[i]} * double{mean[i]};
        }
        return sum;
    }
    void finish(std::span<float> mean, double total) override {
        ++finished;
        for (const Run& run : owned) {
            for (std::size_t i = run.begin; i < run.end; ++i)
                mean[i] = static_cast<float>(double{mean[i]} / 2 + 1e-4 * total);
        }
    }

  private:
    std::unique_ptr<Codec> codec_ = make_codec("none", {}).value();
};

struct Member {
    std::vector<float> values;
    TestStep step;
    std::vector<AverageReport> reports;
};

std::vector<Member> members(std::size_t n, std::size_t count) {
    std::vector<Member> all(n);
    Rng rng(n * 1000 + count);
    for (Member& member : all) {
        for (std::size_t i = 0; i < count; ++i) member.values.push_back(static_cast<float>(rng.normal()));
    }
    return all;
}

std::vector<double> expected_outcome(const std::vector<Member>& all) {
    double weight = 0;
    for (const Member& member : all) weight += member.step.own_weight;
    std::vector<double> mean(all[0].values.size());
    double total = 0;
    for (std::size_t i = 0; i < mean.size(); ++i) {
        for (const Member& member : all)
            mean[i] += member.step.own_weight / weight * double{member.values[i]};
        total += mean[i] * mean[i];
    }
    for (double& value : mean) value = value / 2 + 1e-4 * total;
    return mean;
}

// Member m makes the exchanges rounds[m], one after the other, from second starts[m] on; those whose outcome,
// or a later one, it has already are left out.
struct Course {
    std::vector<std::vector<std::uint64_t>> rounds;
    std::vector<double> starts;
    double deadline = 10;
};
void run(std::vector<Member>& all, const Course& course, const MemoryNetwork::Hook& hook = {}) {
    MemoryNetwork network({.hosts = all.size()});
    if (hook) network.set_hook(hook);
    const auto codec = make_codec("none", {}).value();
    for (std::size_t m = 0; m < all.size(); ++m) {
        network.start(m, "average", [&, m] {
            Host& host = network.host(m);
            Inbox inbox(host);
            ASSERT_TRUE(inbox.wait_for_members(all.size(), 1));
            const auto topology = make_topology("full", {}).value();
            const auto scheme =
                make_averaging("all_reduce", {host, inbox, *topology, {.deadline_seconds = course.deadline}})
                    .value();
            if (!course.starts.empty()) host.sleep(course.starts[m]);
            std::uint64_t next = 0;
            for (const std::uint64_t round : course.rounds[m]) {
                if (round < next) continue;
                AveragePart part{.values = all[m].values, .codec = codec.get(), .step = &all[m].step};
                const double start = host.now();
                auto report = scheme->average(round, std::span(&part, 1));
                ASSERT_TRUE(report.ok()) << report.error().message;
                EXPECT_LE(host.now() - start, course.deadline * 1.01);
                all[m].reports.push_back(*report);
                if (report->stepped) next = *report->stepped + 1;
            }
        });
    }
    network.announce_members("start");
    EXPECT_TRUE(network.run());
}

std::string words(const AverageReport& report) {
    std::string all;
    for (const std::string& reason : report.reasons) all += "; " + reason;
    return all;
}

void expect_all(const std::vector<Member>& all, const std::vector<double>& expected) {
    for (const Member& member : all) {
        for (std::size_t i = 0; i < expected.size(); ++i)
            ASSERT_NEAR(member.values[i], expected[i], 1e-5 * (1 + std::abs(expected[i])));
        EXPECT_EQ(member.values, all[0].values);
    }
}

TEST(AllReduceStep, Everybody_gets_the_outcome_for_every_number_of_members_and_length) {
    for (const std::size_t n : {1U, 2U, 3U, 5U, 8U}) {
        for (const std::size_t count : {0U, 1U, 17U, 5003U}) {
            auto all = members(n, count);
            const auto expected = expected_outcome(all);
            run(all, {.rounds = std::vector(n, std::vector<std::uint64_t>{3})});
            expect_all(all, expected);
            std::vector<int> owners(count);
            for (const Member& member : all) {
                EXPECT_EQ(member.reports[0].stepped, std::optional<std::uint64_t>(3));
                EXPECT_TRUE(member.reports[0].complete);
                for (const OwnerStep::Run& run : member.step.owned) {
                    for (std::size_t i = run.begin; i < run.end; ++i) ++owners[i];
                }
            }
            EXPECT_EQ(owners, std::vector<int>(count, 1)) << "each value has one owner";
        }
    }
}

TEST(AllReduceStep, The_mean_is_weighted_by_samples) {
    auto all = members(4, 501);
    const std::uint32_t weights[] = {4, 4, 4, 1};
    for (std::size_t m = 0; m < 4; ++m) all[m].step.own_weight = weights[m];
    const auto expected = expected_outcome(all);
    run(all, {.rounds = std::vector(4, std::vector<std::uint64_t>{0})});
    expect_all(all, expected);
    for (const Member& member : all) EXPECT_EQ(member.step.seen_weight, 13U);
}

TEST(AllReduceStep, Who_has_nothing_to_give_still_owns_a_shard) {
    auto all = members(3, 16 * kOwnerShards);
    all[1].step.own_weight = 0;
    const auto expected = expected_outcome(all);
    run(all, {.rounds = std::vector(3, std::vector<std::uint64_t>{0})});
    expect_all(all, expected);
    EXPECT_FALSE(all[1].step.owned.empty());
    EXPECT_EQ(all[1].reports[0].bytes_sent, 2 * 16 * kOwnerShards / 3 * sizeof(float)) << "results only";
}

TEST(AllReduceStep, Two_n_minus_one_nths_of_the_vector_are_sent) {
    for (const std::size_t n : {2U, 4U, 8U}) {
        auto all = members(n, 16 * kOwnerShards);
        run(all, {.rounds = std::vector(n, std::vector<std::uint64_t>{0})});
        for (const Member& member : all)
            EXPECT_EQ(member.reports[0].bytes_sent, 2 * (n - 1) * 16 * kOwnerShards * sizeof(float) / n);
    }
}

TEST(AllReduceStep, Who_is_behind_gets_the_newest_outcome_and_is_in_step_again) {
    for (const std::size_t behind : {0U, 1U, 2U}) {  // the coordinator too
        auto all = members(3, 64);
        std::vector<std::vector<std::uint64_t>> rounds(3, {7, 8});
        rounds[behind] = {2, 8};
        run(all, {.rounds = rounds});
        for (const Member& member : all) {
            EXPECT_EQ(member.reports[0].stepped, std::optional<std::uint64_t>(7));
            EXPECT_EQ(member.reports[1].stepped, std::optional<std::uint64_t>(8));
            EXPECT_EQ(member.values, all[0].values);
        }
        EXPECT_EQ(all[behind].step.finished, 1) << "owned nothing in the first exchange";
        EXPECT_EQ(all[(behind + 1) % 3].step.finished, 2);
    }
}

TEST(AllReduceStep, A_newcomer_holds_nobody_up) {
    for (const std::size_t newcomer : {0U, 2U}) {
        auto all = members(3, 64);
        std::vector<std::uint64_t> course;
        for (std::uint64_t round = 0; round < 20; ++round) course.push_back(round);
        std::vector<double> starts(3);
        // The others wait for it once, for 0.4 of the deadline, or 0.45 where it would have coordinated.
        starts[newcomer] = newcomer == 0 ? 4.53 : 4.03;
        run(all, {.rounds = std::vector(3, course), .starts = starts});
        double seconds = 0;
        for (const AverageReport& report : all[1].reports) {
            EXPECT_TRUE(report.stepped);
            seconds += report.seconds;
        }
        EXPECT_LT(seconds, 5.5);
        ASSERT_TRUE(all[newcomer].reports[0].stepped)
            << "taken in on the way" << words(all[newcomer].reports[0]);
        EXPECT_GT(*all[newcomer].reports[0].stepped, 0U);
        EXPECT_EQ(all[newcomer].values, all[1].values) << "in step until the end";
    }
}

TEST(AllReduceStep, A_third_of_the_messages_may_be_lost) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        auto all = members(4, 300);
        const auto expected = expected_outcome(all);
        Rng rng(seed);
        run(all, {.rounds = std::vector(4, std::vector<std::uint64_t>{0})},
            [&](const MemoryNetwork::Departure&) {
                return rng.uniform() < 0.3 ? MemoryNetwork::Fate{} : MemoryNetwork::Fate{0.0};
            });
        for (const Member& member : all)
            EXPECT_TRUE(member.reports[0].stepped) << "seed " << seed << words(member.reports[0]);
        expect_all(all, expected);
    }
}

TEST(AllReduceStep, A_member_lost_after_any_message_leaves_the_others_in_agreement) {
    for (std::size_t victim = 0; victim < 3; ++victim) {
        for (std::size_t after = 0; after < 14; ++after) {
            SCOPED_TRACE(testing::Message() << "member " << victim << " after message " << after);
            auto all = members(4, 64);
            std::size_t sent = 0;
            bool silenced = false;
            run(all, {.rounds = std::vector(4, std::vector<std::uint64_t>{0, 1})},
                [&](const MemoryNetwork::Departure& departure) {
                    if (departure.from == victim && sent++ >= after) silenced = true;
                    const bool gone = silenced && (departure.from == victim || departure.to == victim);
                    return gone ? MemoryNetwork::Fate{} : MemoryNetwork::Fate{0.0};
                });
            for (std::size_t m = 0; m < 4; ++m) {
                if (m == victim) continue;
                ASSERT_TRUE(all[m].reports[1].stepped)
                    << "member " << m << words(all[m].reports[0]) << words(all[m].reports[1]);
                EXPECT_EQ(all[m].values, all[victim == 3 ? 2 : 3].values);
            }
        }
    }
}

// Of a coordinator that answers an earlier call, or lies: there is nothing that a step could start from.
TEST(AllReduceStep, A_plan_that_asks_for_more_than_was_offered_is_not_followed) {
    MemoryNetwork network({.hosts = 2});
    const auto codec = make_codec("none", {}).value();
    auto all = members(2, 64);
    all[1].step.has_state = false;
    network.start(0, "coordinator", [&] {
        while (const auto message = network.host(0).receive(Topic::mixing, 2)) {
            if (!std::holds_alternative<ReduceReady>(message->body)) continue;
            const ReducePlan plan{0, 0, {{network.id(0), 0, 1}, {network.id(1), kReduceShareUnits, 1}}};
            EXPECT_TRUE(network.host(0).send(network.id(1), plan, {}).ok());
        }
    });
    network.start(1, "average", [&] {
        Host& host = network.host(1);
        Inbox inbox(host);
        ASSERT_TRUE(inbox.wait_for_members(2, 1));
        const auto topology = make_topology("full", {}).value();
        const auto scheme =
            make_averaging("all_reduce", {host, inbox, *topology, {.deadline_seconds = 1}}).value();
        AveragePart part{.values = all[1].values, .codec = codec.get(), .step = &all[1].step};
        const auto report = scheme->average(0, std::span(&part, 1));
        ASSERT_TRUE(report.ok()) << report.error().message;
        EXPECT_FALSE(report->stepped);
        EXPECT_FALSE(report->complete);
    });
    network.announce_members("start");
    EXPECT_TRUE(network.run());
    EXPECT_TRUE(all[1].step.owned.empty());
    EXPECT_EQ(all[1].step.finished, 0);
}

TEST(DealShards, Each_member_owns_as_much_and_little_moves_when_one_goes) {
    std::vector<PeerId> peers(8);
    for (std::size_t i = 0; i < peers.size(); ++i) peers[i].key[0] = static_cast<std::byte>(i + 1);
    for (std::size_t n = 1; n <= peers.size(); ++n) {
        const auto dealt = deal_shards(std::span(peers).first(n), kOwnerShards);
        for (std::size_t i = 0; i < n; ++i) {
            const auto owned = static_cast<std::size_t>(std::ranges::count(dealt, i));
            EXPECT_LE(owned, (kOwnerShards + n - 1) / n);
            EXPECT_GE(owned, kOwnerShards / n - n);
        }
        if (n == 1) continue;
        const auto without = deal_shards(std::span(peers).first(n - 1), kOwnerShards);
        std::size_t moved = 0;
        for (std::size_t s = 0; s < kOwnerShards; ++s) moved += dealt[s] != n - 1 && dealt[s] != without[s];
        EXPECT_LE(moved, kOwnerShards / 4) << n << " members: of the shards whose owners stay";
    }
}

}  // namespace
}  // namespace Atoll::gossip

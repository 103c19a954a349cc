// The participation laws: pure functions with the frequencies they promise.
#include "federation/federated/participation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "base/files.h"

namespace Atoll::federation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::size_t kClients = 16;

std::unique_ptr<Participation> law(std::string_view name, ParticipationOptions options = {.seed = 7}) {
    return make_participation(name, options).value();
}

std::vector<double> frequencies(const Participation& participation, std::uint64_t rounds) {
    std::vector<double> counts(kClients);
    for (std::uint64_t round = 0; round < rounds; ++round) {
        for (const std::size_t i : participation.participants(round, kClients))
            counts[i] += 1 / double(rounds);
    }
    return counts;
}

TEST(Participation, Is_a_pure_function_ascending_and_within_the_clients) {
    for (const auto& entry : participation_laws()) {
        if (entry.name == "trace") continue;
        const auto forwards = law(entry.name);
        const auto backwards = law(entry.name);
        std::vector<std::vector<std::size_t>> seen;
        for (std::uint64_t round = 0; round < 60; ++round)
            seen.push_back(forwards->participants(round, kClients));
        bool seed_matters = false;
        const auto other = law(entry.name, {.seed = 8});
        for (std::uint64_t round = 60; round-- > 0;) {
            EXPECT_EQ(backwards->participants(round, kClients), seen[round]) << entry.name;
            EXPECT_TRUE(std::ranges::is_sorted(seen[round]));
            for (const std::size_t i : seen[round]) EXPECT_LT(i, kClients);
            seed_matters = seed_matters || other->participants(round, kClients) != seen[round];
            EXPECT_TRUE(backwards->participants(round, 0).empty());
            EXPECT_LE(backwards->participants(round, 1).size(), 1U);
        }
        EXPECT_EQ(seed_matters, entry.name != "full" && entry.name != "cyclic") << entry.name;
    }
}

TEST(Participation, Full_uniform_and_cyclic_take_as_many_as_they_say) {
    EXPECT_EQ(law("full")->participants(3, kClients).size(), kClients);
    const auto uniform = law("uniform", {.seed = 7, .count = 4});
    for (const double frequency : frequencies(*uniform, 4000)) EXPECT_NEAR(frequency, 0.25, 0.03);
    for (std::uint64_t round = 0; round < 100; ++round)
        EXPECT_EQ(uniform->participants(round, kClients).size(), 4U);
    EXPECT_EQ(law("uniform")->participants(0, kClients).size(), 4U) << "a quarter by default";
    const auto cyclic = law("cyclic", {.count = 4});
    EXPECT_THAT(cyclic->participants(5, kClients), ElementsAre(4, 5, 6, 7));
    EXPECT_THAT(cyclic->participants(3, 14), ElementsAre(12, 13));
}

TEST(Participation, Bernoulli_clients_come_with_chances_spread_from_low_to_high) {
    const auto bernoulli = law("bernoulli", {.seed = 7, .low = 0.05, .high = 0.9});
    std::vector<double> seen = frequencies(*bernoulli, 6000);
    std::ranges::sort(seen);
    EXPECT_LT(seen.front(), 0.05 + 0.06 + 0.02);
    EXPECT_GT(seen.back(), 0.9 - 0.06 - 0.02);
    // Evenly spread: neighbours are (high - low) / 16 apart.
    for (std::size_t i = 1; i < kClients; ++i) EXPECT_NEAR(seen[i] - seen[i - 1], 0.85 / 16, 0.035);
}

TEST(Participation, Markov_clients_stay_and_come_with_their_chances) {
    const auto markov = law("markov", {.seed = 7, .low = 0.1, .high = 0.4, .stay = 0.8});
    double stayed = 0;
    double could_stay = 0;
    std::vector<double> came(kClients);
    std::vector<double> could_come(kClients);
    std::vector<bool> before(kClients);
    for (std::uint64_t round = 0; round < 4000; ++round) {
        std::vector<bool> now(kClients);
        for (const std::size_t i : markov->participants(round, kClients)) now[i] = true;
        for (std::size_t i = 0; round > 0 && i < kClients; ++i) {
            (before[i] ? could_stay : could_come[i]) += 1;
            if (before[i] && now[i]) ++stayed;
            if (!before[i] && now[i]) ++came[i];
        }
        before = now;
    }
    EXPECT_NEAR(stayed / could_stay, 0.8, 0.01);
    std::vector<double> chances;
    for (std::size_t i = 0; i < kClients; ++i) chances.push_back(came[i] / could_come[i]);
    EXPECT_NEAR(std::accumulate(chances.begin(), chances.end(), 0.0) / kClients, 0.25, 0.02);
    EXPECT_LT(*std::ranges::min_element(chances), 0.15);
    EXPECT_GT(*std::ranges::max_element(chances), 0.35);
}

// Against the definition: one draw after the other, each time in proportion to the weights of those left.
TEST(Participation, Categorical_draws_in_proportion_to_the_weights_without_replacement) {
    const auto one = law("categorical", {.seed = 7, .count = 1, .low = 0.1, .high = 0.9});
    std::vector<double> first = frequencies(*one, 20000);
    std::ranges::sort(first);
    // Weights are evenly spread over 0.1 .. 0.9, so that their sum is about 16 x 0.5.
    for (std::size_t i = 0; i < kClients; ++i) {
        const double weight = 0.1 + 0.8 * (double(i) + 0.5) / kClients;
        EXPECT_NEAR(first[i], weight / 8, 0.012);
    }
    EXPECT_EQ(law("categorical", {.seed = 7, .count = 4})->participants(9, kClients).size(), 4U);
}

TEST(Participation, A_trace_is_read_and_begins_again_and_garbage_is_refused) {
    const auto path = std::filesystem::path(::testing::TempDir()) / "participation_trace.txt";
    ASSERT_TRUE(write_file(path, std::string_view("# two rounds\n3 0 3\n\n1 99\n")).ok());
    const auto trace = law("trace", {.trace = path.string()});
    EXPECT_THAT(trace->participants(0, kClients), ElementsAre(0, 3));
    EXPECT_TRUE(trace->participants(1, kClients).empty());
    EXPECT_THAT(trace->participants(5, kClients), ElementsAre(1));
    ASSERT_TRUE(write_file(path, std::string_view("0 one\n")).ok());
    const auto bad = make_participation("trace", {.trace = path.string()});
    ASSERT_FALSE(bad.ok());
    EXPECT_THAT(bad.error().message, HasSubstr("algorithm.participation_trace"));
    EXPECT_THAT(bad.error().message, HasSubstr("0 one"));
    std::filesystem::remove(path);
    EXPECT_FALSE(make_participation("trace", {.trace = path.string()}).ok());
    EXPECT_THAT(make_participation("unifrom", {}).error().message, HasSubstr("did you mean uniform?"));
}

}  // namespace
}  // namespace Atoll::federation

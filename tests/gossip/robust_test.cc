// The robust schemes: their values against slow references in double, what liars can do, and who is named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "gossip/averaging/averaging.h"
#include "gossip/topology/digest.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::gossip {
namespace {

using fakes::MemoryNetwork;
using testing::Contains;
using testing::HasSubstr;
using Point = std::vector<double>;

constexpr std::size_t kValues = 40;

Point mean_of(const std::vector<Point>& points) {
    Point mean(points[0].size(), 0);
    for (const Point& point : points) {
        for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += point[i] / double(points.size());
    }
    return mean;
}

double distance(const Point& a, const Point& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return std::sqrt(sum);
}

// ---- the definitions, step by step in double ----

Point trimmed_mean(const std::vector<Point>& points, std::size_t cut) {
    Point result;
    for (std::size_t i = 0; i < points[0].size(); ++i) {
        std::vector<double> column;
        for (const Point& point : points) column.push_back(point[i]);
        std::ranges::sort(column);
        double sum = 0;
        for (std::size_t j = cut; j < column.size() - cut; ++j) sum += column[j];
        result.push_back(sum / double(column.size() - 2 * cut));
    }
    return result;
}

Point geometric_median(const std::vector<Point>& points) {
    Point z = mean_of(points);
    for (int step = 0; step < 20000; ++step) {
        Point next(z.size(), 0);
        double sum = 0;
        for (const Point& point : points) {
            const double weight = 1 / std::max(distance(z, point), 1e-9);
            sum += weight;
            for (std::size_t i = 0; i < z.size(); ++i) next[i] += weight * point[i];
        }
        for (double& value : next) value /= sum;
        z = next;
    }
    return z;
}

// Equation 11 of Karimireddy et al. as it stands, again and again.
Point centered_clip(const std::vector<Point>& points, double tau) {
    Point v = points[0];
    for (int step = 0; step < 20000; ++step) {
        Point pull(v.size(), 0);
        for (const Point& point : points) {
            const double scale = std::min(1.0, tau / std::max(distance(v, point), 1e-300));
            for (std::size_t i = 0; i < v.size(); ++i)
                pull[i] += scale * (point[i] - v[i]) / double(points.size());
        }
        for (std::size_t i = 0; i < v.size(); ++i) v[i] += pull[i];
    }
    return v;
}

double radius_of_half(const std::vector<Point>& points) {
    double least = std::numeric_limits<double>::infinity();
    for (const Point& centre : points) {
        std::vector<double> distances;
        for (const Point& point : points) distances.push_back(distance(centre, point));
        std::ranges::sort(distances);
        least = std::min(least, distances[points.size() / 2]);
    }
    return least;
}

// ---- a neighbourhood of everybody ----

// What member `to` is told by member `from`; different receivers may be told different things.
using Lie = std::function<void(std::size_t to, MixShare& share, std::vector<float>& values)>;

struct Outcome {
    std::vector<Point> results;  // of the honest members, who come first
    std::vector<AverageReport> reports;
};

Outcome run(std::string_view scheme, const std::vector<Point>& points, std::size_t honest, const Lie& lie,
            AveragingOptions options = {.deadline_seconds = 5}) {
    MemoryNetwork network({.hosts = points.size()});
    Outcome outcome;
    outcome.results.resize(honest);
    outcome.reports.resize(honest);
    const auto topology = make_topology("full", {}).value();
    const auto codec = make_codec("none", {}).value();
    for (std::size_t m = 0; m < points.size(); ++m) {
        network.start(m, "member", [&, m] {
            Inbox inbox(network.host(m));
            ASSERT_TRUE(inbox.wait_for_members(points.size(), 1));
            std::vector<float> values(points[m].begin(), points[m].end());
            if (m < honest) {
                const auto averaging =
                    make_averaging(scheme, {network.host(m), inbox, *topology, options}).value();
                AveragePart part{values, codec.get(), {}};
                auto report = averaging->average(7, std::span(&part, 1));
                ASSERT_TRUE(report.ok()) << report.error().message;
                outcome.reports[m] = *report;
                outcome.results[m].assign(values.begin(), values.end());
                return;
            }
            for (std::size_t to = 0; to < honest; ++to) {
                std::vector<float> told = values;
                MixShare share{.round = 7,
                               .weight = 1,
                               .schedule = schedule_digest(*topology, inbox.view()),
                               .parts = {{0, told.size(), told.size() * sizeof(float)}}};
                lie(to, share, told);
                const ByteView bytes = std::as_bytes(std::span<const float>(told));
                EXPECT_TRUE(network.host(m)
                                .send(network.id(to), share, SharedBytes(Bytes(bytes.begin(), bytes.end())))
                                .ok());
            }
        });
    }
    network.announce_members("start");
    EXPECT_TRUE(network.run());
    return outcome;
}

std::vector<Point> cloud(std::size_t members, std::uint64_t seed) {
    Rng rng(seed);
    Point centre(kValues);
    for (double& value : centre) value = rng.normal();
    std::vector<Point> points(members, centre);
    for (Point& point : points) {
        for (double& value : point) value = static_cast<float>(value + 0.3 * rng.normal());
    }
    return points;
}

const Lie kTruth = [](std::size_t, MixShare&, std::vector<float>&) {};

TEST(Robust, Aggregates_are_those_of_their_definitions) {
    for (const std::size_t m : {2U, 3U, 4U, 5U, 9U}) {
        const std::vector<Point> points = cloud(m, m);
        const std::size_t cut = std::min<std::size_t>((m + 4) / 5, (m - 1) / 2);  // a fifth, rounded up
        const std::vector<std::pair<std::string, Point>> expected = {
            {"trimmed_mean", trimmed_mean(points, cut)},
            {"geometric_median", geometric_median(points)},
            {"centered_clip", centered_clip(points, radius_of_half(points))}};
        for (const auto& [scheme, reference] : expected) {
            // Of two points every one between is a geometric median.
            const Outcome outcome = run(scheme, points, m, kTruth);
            for (const Point& result : outcome.results)
                EXPECT_LT(distance(result, reference), 2e-5) << scheme << " of " << m;
            EXPECT_TRUE(outcome.reports[0].complete);
        }
        const Outcome clipped = run("centered_clip", points, m, kTruth, {.clip_radius = 0.5});
        EXPECT_LT(distance(clipped.results[0], centered_clip(points, 0.5)), 2e-5) << m;
        const Outcome median = run("trimmed_mean", points, m, kTruth, {.trim_fraction = 0.5});
        EXPECT_LT(distance(median.results[0], trimmed_mean(points, (m - 1) / 2)), 2e-5) << m;
    }
}

TEST(Robust, A_majority_of_equal_opinions_prevails) {
    std::vector<Point> points(5, cloud(1, 3)[0]);
    for (std::size_t i = 0; i < kValues; ++i) {
        points[3][i] += 2;
        points[4][i] -= 30;
    }
    for (const char* scheme : {"trimmed_mean", "geometric_median", "centered_clip"}) {
        const Outcome outcome = run(scheme, points, 3, kTruth, {.trim_fraction = 0.4});
        EXPECT_LT(distance(outcome.results[0], points[0]), 1e-3) << scheme;
    }
}

// ---- the breakdown points ----

struct Attack {
    const char* name;
    std::function<void(std::size_t to, std::vector<float>& values)> move;
};

const Attack kAttacks[] = {
    {"far away, all in one direction",
     [](std::size_t, std::vector<float>& v) {
         for (float& x : v) x += 8;
     }},
    {"the other way round",
     [](std::size_t, std::vector<float>& v) {
         for (float& x : v) x *= -20;
     }},
    {"something else to everybody",
     [](std::size_t to, std::vector<float>& v) {
         for (std::size_t i = 0; i < v.size(); ++i) v[i] += (i + to) % 2 == 0 ? 9.0F : -9.0F;
     }},
    {"just a little off",
     [](std::size_t, std::vector<float>& v) {
         for (float& x : v) x += 0.4F;
     }},
};

TEST(Robust, Up_to_the_breakdown_point_liars_move_the_result_within_its_bound) {
    for (const std::size_t m : {3U, 5U, 8U}) {
        const std::size_t liars = (m - 1) / 2;
        const std::size_t honest = m - liars;
        const std::vector<Point> points = cloud(m, 10 + m);
        const std::vector<Point> truth(points.begin(), points.begin() + static_cast<std::ptrdiff_t>(honest));
        const Point centre = mean_of(truth);
        double radius = 0;
        double diameter = 0;
        for (const Point& a : truth) {
            radius = std::max(radius, distance(a, centre));
            for (const Point& b : truth) diameter = std::max(diameter, distance(a, b));
        }
        const double ratio = double(liars) / double(honest);
        const double bound = radius / std::sqrt(1 - ratio * ratio);
        for (const Attack& attack : kAttacks) {
            SCOPED_TRACE(testing::Message() << m << " members: " << attack.name);
            const Lie lie = [&](std::size_t to, MixShare&, std::vector<float>& values) {
                attack.move(to, values);
            };
            for (const Point& result : run("geometric_median", points, honest, lie).results)
                EXPECT_LE(distance(result, centre), bound * 1.0001);
            for (const Point& result : run("centered_clip", points, honest, lie).results)
                EXPECT_LE(distance(result, centre), std::max(radius + diameter, bound) * 1.0001);
            const Outcome trimmed = run("trimmed_mean", points, honest, lie, {.trim_fraction = 0.5});
            for (const Point& result : trimmed.results) {
                for (std::size_t i = 0; i < kValues; ++i) {
                    const auto [least, largest] =
                        std::ranges::minmax(truth, {}, [&](const Point& point) { return point[i]; });
                    EXPECT_GE(result[i], least[i] - 1e-5);
                    EXPECT_LE(result[i], largest[i] + 1e-5);
                }
            }
        }
    }
}

TEST(Robust, Beyond_the_breakdown_point_liars_win) {
    const std::vector<Point> points = cloud(5, 4);
    const Lie lie = [](std::size_t, MixShare&, std::vector<float>& values) {
        for (float& value : values) value += 15;
    };
    for (const char* scheme : {"trimmed_mean", "geometric_median", "centered_clip"}) {
        const Outcome outcome = run(scheme, points, 2, lie, {.trim_fraction = 0.4});
        EXPECT_GT(distance(outcome.results[0], points[0]), 40) << scheme;
    }
}

// ---- who is named ----

TEST(Robust, A_liar_is_named_with_the_reason_and_does_not_count) {
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<std::pair<std::string, Lie>> lies = {
        {"not finite", [](std::size_t, MixShare&, std::vector<float>& v) { v[3] = kNan; }},
        {"more than 100 times ours", [](std::size_t, MixShare&, std::vector<float>& v) { v[0] = 1e7F; }},
        {"weight 0.5, but everybody has one voice",
         [](std::size_t, MixShare& s, std::vector<float>&) { s.weight = 0.5; }},
        {"its parts differ", [](std::size_t, MixShare& s, std::vector<float>&) { s.parts[0].codec = 2; }},
        {"payload of 156 bytes", [](std::size_t, MixShare&, std::vector<float>& v) { v.pop_back(); }},
        {"same members differs",
         [](std::size_t, MixShare& s, std::vector<float>&) { s.schedule[20] ^= std::byte{1}; }},
        {"came too late", [](std::size_t, MixShare& s, std::vector<float>&) { s.round = 6; }},
        {"too far ahead", [](std::size_t, MixShare& s, std::vector<float>&) { s.round = 99; }},
    };
    const std::vector<Point> points = cloud(4, 6);
    const std::vector<Point> truth(points.begin(), points.begin() + 3);
    for (const auto& [reason, lie] : lies) {
        SCOPED_TRACE(reason);
        const Outcome outcome = run("trimmed_mean", points, 3, lie);
        const std::string liar = fakes::MemoryNetwork({.hosts = 4}).id(3).short_name();
        for (std::size_t m = 0; m < 3; ++m) {
            EXPECT_FALSE(outcome.reports[m].complete);
            EXPECT_THAT(outcome.reports[m].reasons,
                        Contains(testing::AllOf(HasSubstr(liar), HasSubstr(reason))));
            EXPECT_LT(distance(outcome.results[m], trimmed_mean(truth, 1)), 1e-5)
                << "as if it were not there";
            EXPECT_EQ(outcome.reports[m].weight, 0.75);
        }
    }
}

TEST(Robust, A_second_opinion_of_one_member_does_not_count) {
    MemoryNetwork network({.hosts = 3});
    const auto topology = make_topology("full", {}).value();
    const auto codec = make_codec("none", {}).value();
    std::vector<float> values(1, 1.0F);
    AverageReport report;
    network.start(0, "honest", [&] {
        Inbox inbox(network.host(0));
        ASSERT_TRUE(inbox.wait_for_members(3, 1));
        const auto averaging =
            make_averaging("trimmed_mean", {network.host(0), inbox, *topology, {.deadline_seconds = 5}})
                .value();
        AveragePart part{values, codec.get(), {}};
        report = averaging->average(0, std::span(&part, 1)).value();
    });
    for (const std::size_t liar : {1U, 2U}) {
        network.start(liar, "liar", [&, liar] {
            Inbox inbox(network.host(liar));
            ASSERT_TRUE(inbox.wait_for_members(3, 1));
            if (liar == 2) network.host(2).sleep(1);
            for (const float value : {2.0F, 50.0F}) {
                const ByteView bytes = std::as_bytes(std::span(&value, 1));
                const MixShare share{
                    .weight = 1, .schedule = schedule_digest(*topology, inbox.view()), .parts = {{0, 1, 4}}};
                ASSERT_TRUE(network.host(liar)
                                .send(network.id(0), share, SharedBytes(Bytes(bytes.begin(), bytes.end())))
                                .ok());
                if (liar == 2) break;
            }
        });
    }
    network.announce_members("start");
    ASSERT_TRUE(network.run());
    EXPECT_THAT(report.reasons, Contains(HasSubstr("a second share for round 0 stage 0")));
    EXPECT_EQ(values[0], 2.0F) << "the median of 1, 2, 2";
}

TEST(Robust, A_member_that_the_schedule_does_not_have_here_is_not_heard) {
    MemoryNetwork network({.hosts = 6});
    const auto topology = make_topology("ring", {}).value();
    const auto codec = make_codec("none", {}).value();
    std::vector<std::vector<float>> values(6, std::vector<float>(1, 1.0F));
    std::vector<AverageReport> reports(6);
    for (std::size_t m = 0; m < 6; ++m) {
        network.start(m, "member", [&, m] {
            Inbox inbox(network.host(m));
            ASSERT_TRUE(inbox.wait_for_members(6, 1));
            if (m == 3) {  // shouts at everybody
                const float value = 3;
                const ByteView bytes = std::as_bytes(std::span(&value, 1));
                const MixShare share{
                    .weight = 1, .schedule = schedule_digest(*topology, inbox.view()), .parts = {{0, 1, 4}}};
                for (std::size_t to = 0; to < 6; ++to) {
                    if (to == 3) continue;
                    ASSERT_TRUE(
                        network.host(3)
                            .send(network.id(to), share, SharedBytes(Bytes(bytes.begin(), bytes.end())))
                            .ok());
                }
                return;
            }
            if (m == 0) network.host(0).sleep(0.5);
            const auto averaging =
                make_averaging("geometric_median",
                               {network.host(m), inbox, *topology, {.deadline_seconds = 5}})
                    .value();
            AveragePart part{values[m], codec.get(), {}};
            reports[m] = averaging->average(0, std::span(&part, 1)).value();
        });
    }
    network.announce_members("start");
    ASSERT_TRUE(network.run());
    EXPECT_THAT(reports[0].reasons, Contains(HasSubstr("our schedule does not have it")));
    EXPECT_EQ(values[0][0], 1.0F);
    EXPECT_TRUE(reports[2].complete) << "its neighbour hears it";
}

}  // namespace
}  // namespace Atoll::gossip

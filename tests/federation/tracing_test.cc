// What the spans of a session show: computing and exchanging in turn, or at the same time.
#include "federation/tracing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/contracts/suited_run.h"
#include "tests/federation/member_cluster.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::QuadraticWorker;

struct Seen {
    std::string track;
    std::string name;
    double begin = 0;
    double end = 0;
};

// Spans of member 0 of two, on links whose latency is that of a batch.
std::vector<Seen> spans_of(RunConfig config) {
    Cluster cluster(config, 2,
                    [](std::size_t) { return std::make_unique<QuadraticWorker>(QuadraticWorker::Options{}); },
                    {.latency_seconds = 0.01});
    std::vector<Seen> seen;
    cluster[0].session.spans = [&](std::string_view track, std::string_view name, double begin, double end) {
        seen.push_back({std::string(track), std::string(name), begin, end});
    };
    EXPECT_TRUE(cluster.run_all());
    EXPECT_TRUE(cluster[0].status->ok());
    return seen;
}

RunConfig run_of(const std::string& algorithm) {
    RunConfig config = federation::testing::small_run();
    config.algorithm.name = algorithm;
    config.averaging.name = "all_reduce";
    return config;
}

// Seconds in which a span named `a` and one named `b` go on.
double together(const std::vector<Seen>& spans, std::string_view a, std::string_view b) {
    double sum = 0;
    for (const Seen& x : spans) {
        for (const Seen& y : spans) {
            if (x.name == a && y.name == b)
                sum += std::max(0.0, std::min(x.end, y.end) - std::max(x.begin, y.begin));
        }
    }
    return sum;
}

double seconds(const std::vector<Seen>& spans, std::string_view name) {
    double sum = 0;
    for (const Seen& span : spans) sum += span.name == name ? span.end - span.begin : 0;
    return sum;
}

TEST(Tracing, Data_parallel_computes_and_exchanges_in_turn) {
    const auto spans = spans_of(run_of("data_parallel"));
    EXPECT_NEAR(seconds(spans, "compute"), 0.4, 1e-9) << "40 steps";
    EXPECT_GT(seconds(spans, "exchange"), 1.6);
    EXPECT_EQ(together(spans, "compute", "exchange"), 0);
}

TEST(Tracing, Acco_computes_while_it_exchanges) {
    const auto spans = spans_of(run_of("acco"));
    EXPECT_GT(together(spans, "compute", "exchange"), 0.95 * seconds(spans, "exchange"));
    // The batch during which an exchange ends goes on after it: one in some seven.
    EXPECT_GT(together(spans, "compute", "exchange"), 0.85 * seconds(spans, "compute"));
}

TEST(Tracing, Steps_without_gradients_are_computing_too) {
    EXPECT_GT(seconds(spans_of(federation::testing::suited(run_of("decomfl"))), "compute"), 0);
}

TEST(Tracing, Every_kind_of_span_is_told_on_its_track) {
    const auto tracks_of = [](const std::vector<Seen>& spans, std::string_view name) {
        std::set<std::string> tracks;
        for (const Seen& span : spans) {
            EXPECT_LE(span.begin, span.end);
            if (span.name == name) tracks.insert(span.track);
        }
        return tracks;
    };
    const auto diloco = spans_of(run_of("diloco"));
    EXPECT_EQ(tracks_of(diloco, "compute"), std::set<std::string>{"compute"});
    EXPECT_EQ(tracks_of(diloco, "outer step"), std::set<std::string>{"compute"});
    EXPECT_EQ(tracks_of(diloco, "exchange"), std::set<std::string>{"exchange"});
    EXPECT_EQ(tracks_of(diloco, "encode"), std::set<std::string>{"exchange"});
    EXPECT_EQ(tracks_of(diloco, "decode"), std::set<std::string>{"exchange"});
    EXPECT_EQ(tracks_of(spans_of(run_of("acco")), "outer step"), std::set<std::string>{"exchange"})
        << "of the shard's optimizer";
}

}  // namespace
}  // namespace Atoll::federation

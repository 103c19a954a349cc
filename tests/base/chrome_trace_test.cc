#include "base/chrome_trace.h"

#include <gtest/gtest.h>

namespace Atoll {
namespace {

TEST(ChromeTrace, Names_processes_and_tracks_and_gives_spans_in_microseconds) {
    ChromeTrace trace;
    trace.name_process(7, "node \"seven\"");
    trace.span(7, "compute", "gradient", 1.5, 2.25);
    trace.span(7, "exchange", "exchange", 2, 4);
    trace.span(7, "compute", "gradient", 2.25, 2.5);
    EXPECT_EQ(trace.text(), R"({"displayTimeUnit": "ms", "traceEvents": [
{"ph": "M", "name": "process_name", "pid": 7, "args": {"name": "node \"seven\""}},
{"ph": "M", "name": "thread_name", "pid": 7, "tid": 0, "args": {"name": "compute"}},
{"ph": "M", "name": "thread_name", "pid": 7, "tid": 1, "args": {"name": "exchange"}},
{"ph": "X", "name": "gradient", "pid": 7, "tid": 0, "ts": 1500000.000, "dur": 750000.000},
{"ph": "X", "name": "exchange", "pid": 7, "tid": 1, "ts": 2000000.000, "dur": 2000000.000},
{"ph": "X", "name": "gradient", "pid": 7, "tid": 0, "ts": 2250000.000, "dur": 250000.000}
]}
)");
}

TEST(ChromeTrace, Spans_beyond_the_limit_are_dropped) {
    ChromeTrace trace;
    for (std::size_t i = 0; i < ChromeTrace::kSpansMax + 3; ++i) trace.span(0, "t", "s", 0, 1);
    const std::string text = trace.text();
    std::size_t spans = 0;
    for (std::size_t at = text.find("\"X\""); at != std::string::npos; at = text.find("\"X\"", at + 1))
        ++spans;
    EXPECT_EQ(spans, ChromeTrace::kSpansMax);
}

}  // namespace
}  // namespace Atoll

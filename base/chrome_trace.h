// A record of who did what when, in Chrome's trace format: chrome://tracing and ui.perfetto.dev draw it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace Atoll {

// All functions are thread-safe.
class ChromeTrace {
  public:
    // Further spans are counted, not kept: some 100 MB of text.
    static constexpr std::size_t kSpansMax = std::size_t{1} << 20U;

    void name_process(std::uint64_t process, std::string name);
    // `name` was done from `begin` to `end` (seconds of any one origin). Spans of a track of a process lie in
    // or beside each other.
    void span(std::uint64_t process, std::string_view track, std::string_view name, double begin, double end);

    // {"traceEvents": [...]}: complete events (ph X) in microseconds, and the names (ph M).
    [[nodiscard]] std::string text() const;
    [[nodiscard]] Status write(const std::filesystem::path& path) const;

  private:
    struct Span {
        std::uint64_t process = 0;
        std::size_t track = 0;
        std::size_t name = 0;
        double begin = 0;
        double end = 0;
    };
    [[nodiscard]] std::size_t name_index(std::string_view name);

    mutable std::mutex mutex_;  // guards all below: compute and exchange are traced from their own threads
    std::map<std::uint64_t, std::string> processes_;
    std::map<std::pair<std::uint64_t, std::string>, std::size_t> tracks_;  // numbered as they come
    std::vector<std::string> names_;
    std::vector<Span> spans_;
    std::uint64_t dropped_ = 0;
};

}  // namespace Atoll

// Events of a run: what trainers and nodes report, and whoever listens writes down, draws or serves.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace Atoll::node {

using FieldValue = std::variant<std::int64_t, double, bool, std::string>;

struct Field {
    std::string_view name;  // units in the name: _seconds, _bytes, _tokens
    FieldValue value;
};

// The kinds and their fields are listed in docs/reference/run-folder.md; a kind always carries the same
// fields.
struct Event {
    double unix_time = 0;
    std::string_view kind;  // "step", "validation", "round", "checkpoint", ...
    std::uint64_t step = 0;
    std::vector<Field> fields;
};

class EventSink {
  public:
    virtual ~EventSink() = default;
    // Errors: the disk is full, the file is gone.
    [[nodiscard]] virtual Status write(const Event& event) = 0;
};

// Hands every event to all its sinks, in order; the first error stops it.
class EventFanout : public EventSink {
  public:
    void add(std::unique_ptr<EventSink> sink) { sinks_.push_back(std::move(sink)); }
    [[nodiscard]] Status write(const Event& event) override {
        for (const auto& sink : sinks_) ATOLL_TRY(sink->write(event));
        return {};
    }

  private:
    std::vector<std::unique_ptr<EventSink>> sinks_;
};

// Seconds since 1970, for the times of events.
[[nodiscard]] double unix_now();
// "2026-01-31T12:00:00.123Z".
[[nodiscard]] std::string iso8601(double unix_time);

}  // namespace Atoll::node

// metrics.jsonl: one JSON object a line, {"t": ISO time, "kind": ..., "step": ..., fields}; and reading it
// back.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "node/observe/event.h"

namespace Atoll::node {

// One line of metrics.jsonl, newline included. Numbers that JSON cannot write (NaN) become null.
[[nodiscard]] std::string to_json_line(const Event& event);

// Appends to `path`. A torn last line of a process that was killed is ended first, so that it spoils no
// other.
[[nodiscard]] Result<std::unique_ptr<EventSink>> open_jsonl(const std::filesystem::path& path);

// The lines of a metrics.jsonl that are whole JSON objects; a torn line is left out.
[[nodiscard]] Result<std::vector<std::string>> read_jsonl(const std::filesystem::path& path);

}  // namespace Atoll::node

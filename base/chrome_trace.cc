#include "base/chrome_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/files.h"
#include "base/log.h"

namespace Atoll {

namespace {

std::string json_string(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x20) continue;
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + "\"";
}

}  // namespace

void ChromeTrace::name_process(std::uint64_t process, std::string name) {
    const std::lock_guard lock(mutex_);
    processes_[process] = std::move(name);
}

void ChromeTrace::span(std::uint64_t process, std::string_view track, std::string_view name, double begin,
                       double end) {
    const std::lock_guard lock(mutex_);
    if (spans_.size() >= kSpansMax) {
        ++dropped_;
        return;
    }
    const auto [at, added] = tracks_.try_emplace({process, std::string(track)}, tracks_.size());
    spans_.push_back({process, at->second, name_index(name), begin, end});
}

std::size_t ChromeTrace::name_index(std::string_view name) {
    const auto found = std::ranges::find(names_, name);
    if (found != names_.end()) return static_cast<std::size_t>(found - names_.begin());
    names_.emplace_back(name);
    return names_.size() - 1;
}

std::string ChromeTrace::text() const {
    const std::lock_guard lock(mutex_);
    std::string out = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [";
    const char* separator = "\n";
    const auto add = [&](const std::string& event) {
        out += separator;
        out += event;
        separator = ",\n";
    };
    for (const auto& [process, name] : processes_) {
        add(fmt::format(R"({{"ph": "M", "name": "process_name", "pid": {}, "args": {{"name": {}}}}})",
                        process, json_string(name)));
    }
    for (const auto& [key, track] : tracks_) {
        add(fmt::format(
            R"({{"ph": "M", "name": "thread_name", "pid": {}, "tid": {}, "args": {{"name": {}}}}})",
            key.first, track, json_string(key.second)));
    }
    for (const Span& span : spans_) {
        add(fmt::format(R"({{"ph": "X", "name": {}, "pid": {}, "tid": {}, "ts": {:.3f}, "dur": {:.3f}}})",
                        json_string(names_[span.name]), span.process, span.track, span.begin * 1e6,
                        (span.end - span.begin) * 1e6));
    }
    return out + "\n]}\n";
}

Status ChromeTrace::write(const std::filesystem::path& path) const {
    if (dropped_ > 0) log::warn("{}: the last {} spans did not fit", path.string(), dropped_);
    return write_file(path, std::string_view(text()));
}

}  // namespace Atoll

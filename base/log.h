// Log lines: spdlog behind five functions, so that no header of ours pulls it in.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

namespace Atoll::log {

enum class Level { debug, info, warn, error, off };

// Where lines go: standard error always, and `file` too unless empty (append; reopened by reopen()).
// `name` stands in front of every line (the short peer id).
void configure(Level level, const std::string& file = "", const std::string& name = "");
void reopen();
[[nodiscard]] bool enabled(Level level);
void write(Level level, std::string_view line);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::debug)) write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::info)) write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::warn)) write(Level::warn, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::error)) write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace Atoll::log

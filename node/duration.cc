#include "node/duration.h"

#include <fmt/core.h>

#include <charconv>
#include <chrono>

namespace Atoll::node {

Result<std::uint64_t> parse_duration(std::string_view text) {
    constexpr std::uint64_t kSecondsMax = std::uint64_t{100} * 366 * 86400;  // a century
    std::uint64_t count = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, count);
    if (error == std::errc() && end - rest == 1 && count > 0) {
        const std::uint64_t unit = *rest == 's'   ? 1
                                   : *rest == 'm' ? 60
                                   : *rest == 'h' ? 3600
                                   : *rest == 'd' ? 86400
                                                  : 0;
        if (unit != 0 && count <= kSecondsMax / unit) return count * unit;
    }
    return Error{ErrorCode::invalid, fmt::format("{}: expected a duration, as 90s, 30m, 24h or 7d", text)};
}

std::uint64_t unix_seconds() {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
            .count());
}

}  // namespace Atoll::node

// Durations as people write them after a flag: 90s, 30m, 24h, 7d.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace Atoll::node {

// Seconds. Errors (invalid): anything else than a positive whole number and one of s, m, h, d.
[[nodiscard]] Result<std::uint64_t> parse_duration(std::string_view text);

}  // namespace Atoll::node

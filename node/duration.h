// Durations as people write them after a flag (90s, 30m, 24h, 7d), and the wall clock they are added to.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace Atoll::node {

// Seconds. Errors (invalid): anything else than a positive whole number and one of s, m, h, d.
[[nodiscard]] Result<std::uint64_t> parse_duration(std::string_view text);

// Since 1970.
[[nodiscard]] std::uint64_t unix_seconds();

}  // namespace Atoll::node

#include "node/observe/event.h"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <ctime>

namespace Atoll::node {

double unix_now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string iso8601(double unix_time) {
    const auto milliseconds = static_cast<std::int64_t>(std::floor(unix_time * 1000.0 + 0.5));
    const auto seconds = static_cast<std::time_t>(milliseconds / 1000);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), milliseconds % 1000);
}

}  // namespace Atoll::node

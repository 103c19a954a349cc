// Chart.js, embedded at build time from Debian's libjs-chart.js: reports and the dashboard need no network.
#pragma once

#include <string_view>

namespace Atoll::node {

[[nodiscard]] std::string_view chart_js();

}  // namespace Atoll::node

// report.html: one self-contained page with the curves and final numbers of one run or several side by side.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace Atoll::node {

// Errors: a folder without metrics.jsonl.
[[nodiscard]] Result<std::string> make_report(const std::vector<std::filesystem::path>& run_folders);

}  // namespace Atoll::node

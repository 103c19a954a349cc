// English text that Debian ships: a dictionary (dict-gcide) and sayings (fortunes). What the demo and the
// example scenario learn from.
#pragma once

#include <filesystem>
#include <vector>

#include "base/result.h"

namespace Atoll::model {

// Writes the texts as files into `folder` (created if absent), decompressed: about 40 MB. Each source that is
// installed gives one or more files; returned in a fixed order. Errors (unavailable): neither package is
// installed, naming both.
[[nodiscard]] Result<std::vector<std::filesystem::path>> write_english_text(
    const std::filesystem::path& folder);

}  // namespace Atoll::model

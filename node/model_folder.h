// A model to use, wherever it is: a run folder, a folder of checkpoints, one checkpoint, or a Hugging Face
// folder.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace Atoll::node {

// The folder with config.json and weights behind `path`; the newest checkpoint of a run. Errors (not_found)
// say what was looked for.
[[nodiscard]] Result<std::filesystem::path> find_model(const std::filesystem::path& path);

}  // namespace Atoll::node

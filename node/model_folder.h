// A model to use, wherever it is: a run folder, a folder of checkpoints, one checkpoint, or a Hugging Face
// folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "base/result.h"
#include "model/tokenizer/tokenizer.h"

namespace Atoll::node {

// The folder with config.json and weights behind `path`; the newest checkpoint of a run. Errors (not_found)
// say what was looked for.
[[nodiscard]] Result<std::filesystem::path> find_model(const std::filesystem::path& path);

// The tokenizer of the model in `folder`; a model of 256 tokens without one reads bytes. Errors: as
// model::load_tokenizer.
[[nodiscard]] Result<std::unique_ptr<model::Tokenizer>> tokenizer_of(const std::filesystem::path& folder,
                                                                     std::int64_t vocabulary);

}  // namespace Atoll::node

// llm.c's GPT-2 model.bin, version 3 (fp32): read and written (docs/reference/model-formats.md).
#pragma once

#include <filesystem>
#include <span>

#include "base/result.h"
#include "model/io/hf_folder.h"

namespace Atoll::model {

// Errors: foreign magic or version, sizes that contradict each other or the file's length.
[[nodiscard]] Result<HfModel> read_llmc(const std::filesystem::path& path);

// The vocabulary is padded with zero rows to a multiple of 128. Errors (invalid): the model is not GPT-2 with
// a tied head and an MLP of four times the width; disk full.
[[nodiscard]] Status write_llmc(const std::filesystem::path& path, const ModelConfig& config,
                                const kernels::Layout& layout, std::span<const float> parameters);

}  // namespace Atoll::model

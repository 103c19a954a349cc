// GGUF version 3, as llama.cpp reads it: written only (docs/reference/model-formats.md).
#pragma once

#include <filesystem>
#include <span>

#include "base/result.h"
#include "kernels/flat.h"
#include "model/config.h"
#include "model/io/tensor_blocks.h"

namespace Atoll::model {

struct GgufExport {
    DType dtype = DType::f32;    // of the matrices, f32 or f16; vectors are always f32
    std::string name = "atoll";  // general.name
    std::filesystem::path
        tokenizer;  // tokenizer.json or the folder that holds one; llama.cpp needs it to generate
};

// One file. Rows of Llama's q and k are permuted from halves (j, j + d/2) to interleaved pairs, as readers
// expect them. Errors: disk full, tokenizer unreadable; no file then.
[[nodiscard]] Status write_gguf(const std::filesystem::path& path, const ModelConfig& config,
                                const kernels::Layout& layout, std::span<const float> parameters,
                                const GgufExport& options);

}  // namespace Atoll::model

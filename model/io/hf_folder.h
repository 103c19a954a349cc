// Models as folders in Hugging Face's shape: config.json, model.safetensors (or shards and an index),
// tokenizer files, model card.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "kernels/flat.h"
#include "model/config.h"
#include "model/io/tensor_blocks.h"

namespace Atoll::model {

struct HfModel {
    ModelConfig config;
    kernels::Layout layout;
    kernels::FlatBuffer parameters;
};

// Reads GPT-2 and Llama folders as others write them: names with and without prefix, F32, F16 or BF16, one
// file or shards; mask buffers and a tied output head are passed over. Errors: a tensor missing, unexpected
// or of another shape than the configuration says; an option that is not supported; damaged files. Each names
// file and tensor.
[[nodiscard]] Result<HfModel> import_hf(const std::filesystem::path& folder);

[[nodiscard]] Result<ModelConfig> read_hf_config(const std::filesystem::path& folder);
// The parameters of a folder whose configuration is known. Precondition: `parameters` has layout.size()
// elements; its padding is left alone.
[[nodiscard]] Status read_hf_parameters(const std::filesystem::path& folder, const ModelConfig& config,
                                        const kernels::Layout& layout, std::span<float> parameters);

struct HfExport {
    DType dtype = DType::f32;                       // or bf16, f16
    std::uint64_t shard_bytes_max = 5'000'000'000;  // a larger model is split over several files
    std::filesystem::path tokenizer;  // tokenizer.json or the folder that holds one; empty: none
    std::map<std::string, std::string> provenance;  // into the file's metadata and the model card
};

// Writes the folder as a whole, replacing one that is there. Errors: disk full, tokenizer unreadable; the old
// folder stays.
[[nodiscard]] Status export_hf(const std::filesystem::path& folder, const ModelConfig& config,
                               const kernels::Layout& layout, std::span<const float> parameters,
                               const HfExport& options);

// File name to hash.
using FileHashes = std::map<std::string, Hash>;

// The same into a folder that exists, file by file; returns what was written.
[[nodiscard]] Result<FileHashes> write_hf_files(const std::filesystem::path& folder,
                                                const ModelConfig& config, const kernels::Layout& layout,
                                                std::span<const float> parameters, const HfExport& options);

}  // namespace Atoll::model

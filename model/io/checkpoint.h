// Checkpoints: complete or absent at any instant, checked by hash when read (docs/reference/checkpoint.md).
//   FOLDER/step-00000500/   a Hugging Face folder, optimizer.safetensors, state.json, DONE
//   FOLDER/latest           a link to the newest
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/flat.h"
#include "model/config.h"
#include "model/io/safetensors.h"

namespace Atoll::model {

// A flat vector that belongs to the state: optimizer moments, outer momentum, error-feedback residuals, ...
struct CheckpointVector {
    std::string name;
    std::span<const float> values;
};

struct CheckpointPolicy {
    std::int64_t keep_last = 3;   // at least 1
    std::int64_t keep_every = 0;  // also those whose step is a multiple of it; 0: none
};

struct CheckpointContent {
    std::uint64_t step = 0;
    const ModelConfig& config;
    const kernels::Layout& layout;
    std::span<const float> parameters;
    std::vector<CheckpointVector> vectors;          // names are unique
    std::string state_json = "{}";                  // an object: round, data position, counters, ...
    std::filesystem::path tokenizer;                // as in HfExport
    std::map<std::string, std::string> provenance;  // as in HfExport
};

// Writes FOLDER/step-N (replacing one of the same step), points `latest` to it, then removes what the policy
// does not keep and what killed writers left. One process at a time writes to a folder. Returns the
// checkpoint's path. Errors: disk full and the like; earlier checkpoints and `latest` are as before.
[[nodiscard]] Result<std::filesystem::path> save_checkpoint(const std::filesystem::path& folder,
                                                            const CheckpointContent& content,
                                                            const CheckpointPolicy& policy);

// One checkpoint, open for reading. Files stay mapped while it lives, nothing large is copied before it is
// asked for.
class Checkpoint {
  public:
    // `path` is FOLDER/step-N or a link to it. Reads every file once. Errors: not complete (no DONE), a file
    // that is missing or whose hash differs (named), state or configuration not valid.
    [[nodiscard]] static Result<Checkpoint> open(const std::filesystem::path& path);

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    [[nodiscard]] std::uint64_t step() const { return step_; }
    [[nodiscard]] const ModelConfig& config() const { return config_; }
    [[nodiscard]] const std::string& state_json() const { return state_json_; }

    // Errors: `layout` is not that of config(). Precondition: `out` has layout.size() elements.
    [[nodiscard]] Status read_parameters(const kernels::Layout& layout, std::span<float> out) const;

    // Names of the vectors, sorted: compare with what is expected to report unknown ones.
    [[nodiscard]] std::vector<std::string> vector_names() const;
    [[nodiscard]] bool has_vector(std::string_view name) const { return vectors_.find(name) != nullptr; }
    // Errors: not_found if there is none of that name (names those that are there), corrupt if its length is
    // another.
    [[nodiscard]] Status read_vector(std::string_view name, std::span<float> out) const;

  private:
    Checkpoint(std::filesystem::path path, SafetensorsFile vectors)
        : path_(std::move(path)), vectors_(std::move(vectors)) {}
    std::filesystem::path path_;
    SafetensorsFile vectors_;
    std::uint64_t step_ = 0;
    ModelConfig config_;
    std::string state_json_;
};

struct CheckpointEntry {
    std::uint64_t step = 0;
    std::filesystem::path path;
};
// Complete checkpoints of a folder (without checking hashes), oldest first; empty if the folder is missing.
[[nodiscard]] std::vector<CheckpointEntry> list_checkpoints(const std::filesystem::path& folder);

// The newest checkpoint that is whole: a damaged one is named in the log and the one before it is taken.
// `path` is a folder of checkpoints, or one checkpoint. Errors: not_found if there is none at all; the newest
// one's error if all are damaged.
[[nodiscard]] Result<Checkpoint> open_newest_checkpoint(const std::filesystem::path& path);

}  // namespace Atoll::model

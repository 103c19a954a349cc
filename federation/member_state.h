// Everything a restarted member needs, on top of model/io/checkpoint: parameters, inner optimizer, outer
// state, residuals, counters. Restored, training goes on bit for bit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "federation/algorithm/algorithm.h"
#include "federation/run_config.h"
#include "model/io/checkpoint.h"
#include "model/trainer.h"

namespace Atoll::federation {

struct MemberSave {
    std::filesystem::path folder;
    model::CheckpointPolicy policy;
    std::filesystem::path tokenizer;                // copied into the checkpoint; empty = none
    std::map<std::string, std::uint64_t> counters;  // the caller's own (tokens, bytes, ...)
};

// Writes a checkpoint of the present step; returns its path. `algorithm` is nullptr for a replica that trains
// alone.
[[nodiscard]] Result<std::filesystem::path> save_member(const MemberSave& save, const RunConfig& config,
                                                        model::Trainer& trainer, Algorithm* algorithm);

struct RestoredMember {
    std::filesystem::path path;
    std::uint64_t step = 0;
    std::uint64_t round = 0;
    std::map<std::string, std::uint64_t> counters;
};

// Restores the newest whole checkpoint of `path` (a folder of checkpoints, or one). Errors: as
// open_newest_checkpoint(); corrupt if it does not fit the model or the algorithm; refused if it is of
// another run (with an algorithm). After an error trainer and algorithm may be partly restored: they must not
// be used.
[[nodiscard]] Result<RestoredMember> restore_member(const std::filesystem::path& path,
                                                    const RunConfig& config, model::Trainer& trainer,
                                                    Algorithm* algorithm);

}  // namespace Atoll::federation

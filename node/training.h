// The local replica as configured, and its checkpoints: what train, eval and node build on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "federation/run_config.h"
#include "kernels/ops.h"
#include "model/data/loader.h"
#include "model/io/checkpoint.h"
#include "model/trainer.h"
#include "node/config.h"

namespace Atoll::node {

// Everything one replica needs, in order of dependence.
struct Replica {
    std::unique_ptr<kernels::Ops> ops;
    std::unique_ptr<model::Loader> data;
    std::unique_ptr<model::Trainer> trainer;
};

[[nodiscard]] model::TrainerOptions trainer_options(const federation::RunConfig& run,
                                                    const LocalConfig& local);

// Which part of the data this member trains on (model::LoaderOptions).
struct DataPart {
    std::uint64_t member = 0;
    std::uint64_t members = 1;
    std::uint64_t stream = 0;
};

// Device, data and initial parameters. Errors (invalid): no data configured; or as the parts say.
[[nodiscard]] Result<Replica> make_replica(const Config& config, const DataPart& part = {});

// The trainer's part of a checkpoint: parameters, optimizer state, position. `state_json` gets what is needed
// to continue; `extra_json` (an object) is added to it.
[[nodiscard]] Result<std::filesystem::path> save_training(const std::filesystem::path& folder,
                                                          model::Trainer& trainer, const Config& config,
                                                          const std::string& extra_json);
// Continues from a checkpoint, bit for bit. Returns the `extra_json` it was saved with.
[[nodiscard]] Result<std::string> restore_training(const model::Checkpoint& checkpoint,
                                                   model::Trainer& trainer);

// Most memory this process has used so far.
[[nodiscard]] std::uint64_t peak_rss_bytes();

}  // namespace Atoll::node

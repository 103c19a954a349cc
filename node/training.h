// The local replica as configured: what train and node build on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "base/hash.h"
#include "base/result.h"
#include "federation/member_state.h"
#include "kernels/ops.h"
#include "model/data/loader.h"
#include "model/trainer.h"
#include "node/config.h"

namespace Atoll::node {

// Everything one replica needs, in order of dependence; of several ranks: this one's part.
struct Replica {
    std::unique_ptr<kernels::Ops> ops;
    std::unique_ptr<model::Loader> data;
    std::unique_ptr<model::Trainer> trainer;
};

// Which part of the data this member trains on (model::LoaderOptions).
struct DataPart {
    std::uint64_t member = 0;
    std::uint64_t members = 1;
    std::uint64_t stream = 0;
};

// Device, data and initial parameters; without a part: of a replica that trains alone, on all of the data.
// `ranks` (nullptr: there are no others) outlive it: node/ranks.h. Errors (invalid): no data configured; or
// as the parts say.
[[nodiscard]] Result<Replica> make_replica(const Config& config, const std::optional<DataPart>& part = {},
                                           kernels::Collective* ranks = nullptr);

// Where there is no checkpoint to continue: what the run begins with, run.initial_model, from
// local.initial_model. False: the run asks for a model that this machine does not have. Errors: the model is
// missing, of another shape than table model, or not the one with the run's hash.
[[nodiscard]] Result<bool> load_beginning(const Config& config, model::Trainer& trainer);

// Names a model by its values: of the layout's signature and the flat vector.
[[nodiscard]] Hash parameters_hash(const kernels::Layout& layout, std::span<const float> parameters);

// What a checkpoint of this machine carries besides the state itself: where it goes, what is kept, the data's
// tokenizer.
[[nodiscard]] federation::MemberSave checkpoint_request(const LocalConfig& local,
                                                        const std::filesystem::path& folder);

// Most memory this process has used so far.
[[nodiscard]] std::uint64_t peak_rss_bytes();

}  // namespace Atoll::node

// The processes that a launcher has started as the ranks of one node: met, and of one mind.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "kernels/collective/collective.h"
#include "node/command.h"
#include "node/config.h"
#include "node/training.h"

namespace Atoll::node {

// Comes before anything that computes: it picks the rank's GPU. Errors: as detect_launch() and
// make_collective(); refused if a rank is of another build or another configuration (named).
[[nodiscard]] Result<std::unique_ptr<kernels::Collective>> meet_ranks(const Config& config, Session& session);

// What a rank says about itself; all must say the same.
struct RankFacts {
    std::string build;
    std::string configuration;
};
[[nodiscard]] RankFacts rank_facts(const Config& config);
[[nodiscard]] Status compare_ranks(kernels::Collective& ranks, const RankFacts& mine);

// The replica of all ranks: each makes its own part of it, and stops if another cannot.
[[nodiscard]] Result<Replica> make_shared_replica(const Config& config, const std::optional<DataPart>& part,
                                                  kernels::Collective& ranks);

// The work of a rank other than 0 with its replica, until rank 0 is done. Errors: the replica's; as
// Trainer::follow().
[[nodiscard]] Result<Outcome> follow(const Result<Replica>& replica, const kernels::Collective& ranks);

// An error after which nothing can be saved (a rank is gone, and its part of the optimizer's state with it),
// with where to go on from.
[[nodiscard]] Error with_newest_checkpoint(const Error& error, const std::filesystem::path& checkpoints);

}  // namespace Atoll::node

#include "node/ranks.h"

#include <fmt/core.h>

#include <cstdlib>

#include "base/hash.h"
#include "model/io/checkpoint.h"
#include "node/build_info.h"

namespace Atoll::node {

namespace {

// Every rank's text must be that of rank 0.
Status compare(kernels::Collective& ranks, const std::string& mine, const char* what, const char* hint) {
    ATOLL_ASSIGN(const std::vector<Bytes> all, ranks.all_gather(as_byte_view(mine)));
    const auto text = [&](std::size_t rank) {
        return std::string(reinterpret_cast<const char*>(all[rank].data()), all[rank].size());
    };
    for (std::size_t i = 1; i < all.size(); ++i) {
        if (all[i] == all[0]) continue;
        return Error{ErrorCode::refused,
                     fmt::format("rank {} has {} {}, rank 0 has {}: {}", i, what, text(i), text(0), hint)};
    }
    return {};
}

}  // namespace

RankFacts rank_facts(const Config& config) {
    const BuildInfo& build = build_info();
    return {fmt::format("{} {} ({}, {})", build.version, build.commit, build.compiler, build.flags),
            to_hex(federation::run_id(config.run)).substr(0, 16) +
                fmt::format(" with {} steps and {} held-out batches", federation::schedule_steps(config.run),
                            config.local.validation_batches)};
}

Status compare_ranks(kernels::Collective& ranks, const RankFacts& mine) {
    ATOLL_TRY(compare(ranks, mine.build, "the build", "install the same Atoll on all machines of the node"));
    return compare(ranks, mine.configuration, "the run configuration",
                   "start all ranks with the same run file and flags");
}

Result<std::unique_ptr<kernels::Collective>> meet_ranks(const Config& config, Session& session) {
    const LocalConfig& local = config.local;
    ATOLL_ASSIGN(const kernels::Launch launch,
                 kernels::detect_launch(local.launcher,
                                        [](const char* name) -> const char* { return std::getenv(name); }));
    if (launch.rank != 0) session.leave_the_word_to_rank_0();
    ATOLL_ASSIGN(auto ranks, kernels::make_collective(launch, local.device, local.rank_deadline_seconds));
    ATOLL_TRY(compare_ranks(*ranks, rank_facts(config)));
    if (ranks->size() > 1 && ranks->rank() == 0)
        session.note(
            fmt::format("{} ranks, started by {}: {}", ranks->size(), launch.launcher, ranks->name()));
    return ranks;
}

Result<Replica> make_shared_replica(const Config& config, const std::optional<DataPart>& part,
                                    kernels::Collective& ranks) {
    auto replica = make_replica(config, part, &ranks);
    ATOLL_TRY(ranks.agree(replica.ok() ? Status() : Status(replica.error())));
    return replica;
}

Result<Outcome> follow(const Result<Replica>& replica, const kernels::Collective& ranks) {
    const Status ended = replica.ok() ? replica->trainer->follow() : Status(replica.error());
    if (!ended.ok()) return ended.error().within(fmt::format("rank {} stops", ranks.rank()));
    return Outcome{};
}

Error with_newest_checkpoint(const Error& error, const std::filesystem::path& checkpoints) {
    const auto all = model::list_checkpoints(checkpoints);
    if (all.empty()) return {error.code, error.message + "; there is no checkpoint yet"};
    return {error.code, fmt::format("{}; the checkpoint {} stands: the same command goes on from it",
                                    error.message, all.back().path.string())};
}

}  // namespace Atoll::node

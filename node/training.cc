#include "node/training.h"

#include <sys/resource.h>

#include "federation/replica_worker.h"

namespace Atoll::node {

Result<Replica> make_replica(const Config& config, const DataPart& part) {
    if (config.local.data.empty()) {
        return Error{ErrorCode::invalid,
                     "no training data: --data DIR or local.data, a folder made by atoll data prepare "
                     "--input FILE --out DIR"};
    }
    Replica replica;
    model::LoaderOptions data;
    data.source = config.local.data;
    data.seed = static_cast<std::uint64_t>(config.run.run.seed);
    data.vocabulary = config.run.model.vocabulary;
    data.held_out = config.run.data.held_out;
    data.member_index = part.member;
    data.member_count = part.members;
    data.stream = part.stream;
    ATOLL_ASSIGN(replica.data, model::Loader::open(data));
    ATOLL_ASSIGN(replica.ops, kernels::make_ops(config.local.device, compute_threads(config.local)));
    model::TrainerOptions options = federation::trainer_options(config.run);
    options.held_out_batches_max = config.local.validation_batches;
    ATOLL_ASSIGN(replica.trainer, model::Trainer::make(*replica.ops, *replica.data, options));
    return replica;
}

federation::MemberSave checkpoint_request(const LocalConfig& local, const std::filesystem::path& folder) {
    federation::MemberSave save{folder, {local.checkpoint_keep, local.checkpoint_keep_every}, {}, {}};
    const std::filesystem::path tokenizer = std::filesystem::path(local.data) / "tokenizer.json";
    std::error_code code;
    if (std::filesystem::exists(tokenizer, code)) save.tokenizer = tokenizer;
    return save;
}

std::uint64_t peak_rss_bytes() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace Atoll::node

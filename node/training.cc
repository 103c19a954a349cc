#include "node/training.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>

#include "federation/replica_worker.h"
#include "model/io/hf_folder.h"
#include "node/model_folder.h"

namespace Atoll::node {

Result<Replica> make_replica(const Config& config, const std::optional<DataPart>& part,
                             kernels::Collective* ranks) {
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
    if (part) {
        data.member_index = part->member;
        data.member_count = part->members;
        data.stream = part->stream;
    }
    ATOLL_ASSIGN(replica.data, model::Loader::open(data));
    ATOLL_ASSIGN(replica.ops, kernels::make_ops(config.local.device, compute_threads(config.local)));
    model::TrainerOptions options = federation::trainer_options(config.run);
    if (!part && options.rate_search) options.rate_search->merge_interval = 0;
    options.held_out_batches_max = config.local.validation_batches;
    ATOLL_ASSIGN(replica.trainer, model::Trainer::make(*replica.ops, *replica.data, options, ranks));
    return replica;
}

Result<bool> load_beginning(const Config& config, model::Trainer& trainer) {
    const std::string& path = config.local.initial_model;
    const std::string& wanted = config.run.run.initial_model;
    if (path.empty()) return wanted.empty();
    ATOLL_ASSIGN(const auto folder, find_model(path));
    ATOLL_ASSIGN(const model::HfModel model, model::import_hf(folder));
    if (model.layout.signature() != trainer.layout().signature()) {
        const model::ModelConfig& m = model.config;
        return Error{
            ErrorCode::invalid,
            fmt::format(
                "--init {}: its shape is not that of table model; set model.* to the values of its "
                "config.json (family {}, layers {}, width {}, inner {}, heads {}, kv_heads {}, vocabulary "
                "{}, context {}, tied_head {})",
                path, m.family, m.layers, m.width, m.inner, m.heads, m.kv_heads, m.vocabulary, m.context,
                m.tied_head)};
    }
    const std::string hash = to_hex(parameters_hash(model.layout, model.parameters.span()));
    if (!wanted.empty() && hash != wanted) {
        return Error{
            ErrorCode::invalid,
            fmt::format("--init {} has the hash {}, but run.initial_model = {}: expected the model that the "
                        "run was made with",
                        path, hash, wanted)};
    }
    std::ranges::copy(model.parameters.span(), trainer.parameters().begin());
    trainer.parameters_changed();
    return true;
}

Hash parameters_hash(const kernels::Layout& layout, std::span<const float> parameters) {
    HashStream stream;
    const std::string signature = layout.signature();
    stream.update(as_byte_view(signature));
    stream.update(std::as_bytes(parameters));
    return stream.finish();
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

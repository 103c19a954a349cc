#include "node/training.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>

namespace Atoll::node {

namespace {

constexpr const char* kOptimizerPrefix = "optimizer.";

// Where the checkpoint's tokenizer comes from: the folder of the data, if it holds one.
std::filesystem::path tokenizer_of(const LocalConfig& local) {
    const std::filesystem::path path = std::filesystem::path(local.data) / "tokenizer.json";
    std::error_code code;
    return std::filesystem::exists(path, code) ? path : std::filesystem::path();
}

}  // namespace

model::TrainerOptions trainer_options(const federation::RunConfig& run, const LocalConfig& local) {
    model::TrainerOptions options;
    options.model = run.model;
    options.seed = static_cast<std::uint64_t>(run.run.seed);
    options.optimizer = run.optimizer.name;
    options.optimizer_options = {run.optimizer.beta1, run.optimizer.beta2, run.optimizer.epsilon,
                                 run.optimizer.weight_decay};
    options.learning_rate = run.optimizer.learning_rate;
    options.schedule = run.schedule.name;
    options.schedule_options = {federation::schedule_steps(run), run.schedule.warmup_steps,
                                run.schedule.final_fraction, run.schedule.decay_fraction};
    options.clip_norm = run.optimizer.clip_norm;
    options.batch_sequences = run.optimizer.batch_sequences;
    options.accumulation = run.optimizer.accumulation;
    options.z_loss = run.optimizer.z_loss;
    options.precision =
        run.optimizer.precision == "bf16" ? kernels::Precision::bf16 : kernels::Precision::fp32;
    options.held_out_batches_max = local.validation_batches;
    return options;
}

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
    ATOLL_ASSIGN(replica.trainer, model::Trainer::make(*replica.ops, *replica.data,
                                                       trainer_options(config.run, config.local)));
    return replica;
}

Result<std::filesystem::path> save_training(const std::filesystem::path& folder, model::Trainer& trainer,
                                            const Config& config, const std::string& extra_json) {
    const auto position = trainer.position();
    const nlohmann::json state = {
        {"step", position.step}, {"data", position.data}, {"extra", nlohmann::json::parse(extra_json)}};
    model::CheckpointContent content{.step = position.step,
                                     .config = trainer.config(),
                                     .layout = trainer.layout(),
                                     .parameters = trainer.parameters(),
                                     .vectors = {},
                                     .state_json = state.dump(),
                                     .tokenizer = tokenizer_of(config.local),
                                     .provenance = {{"run", to_hex(federation::run_id(config.run))}}};
    for (const auto& vector : trainer.optimizer_state())
        content.vectors.push_back({kOptimizerPrefix + vector.name, vector.values});
    return model::save_checkpoint(folder, content,
                                  {config.local.checkpoint_keep, config.local.checkpoint_keep_every});
}

Result<std::string> restore_training(const model::Checkpoint& checkpoint, model::Trainer& trainer) {
    const auto state = nlohmann::json::parse(checkpoint.state_json(), nullptr, false);
    const auto number = [&](const char* key) {
        return state.contains(key) && state[key].is_number_unsigned();
    };
    if (!state.is_object() || !number("step") || !number("data")) {
        return Error{ErrorCode::corrupt,
                     fmt::format("{}: state.json has no step and data position", checkpoint.path().string())};
    }
    ATOLL_TRY(checkpoint.read_parameters(trainer.layout(), trainer.parameters()));
    for (const auto& vector : trainer.optimizer_state()) {
        ATOLL_TRY(checkpoint.read_vector(kOptimizerPrefix + vector.name, vector.values));
    }
    trainer.parameters_changed();
    trainer.seek({state["step"].get<std::uint64_t>(), state["data"].get<std::uint64_t>()});
    return state.value("extra", nlohmann::json::object()).dump();
}

std::uint64_t peak_rss_bytes() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace Atoll::node

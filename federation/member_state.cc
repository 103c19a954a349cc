#include "federation/member_state.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

namespace Atoll::federation {

namespace {

constexpr std::string_view kOptimizerPrefix = "optimizer.";
constexpr std::string_view kAlgorithmPrefix = "algorithm.";

std::string prefixed(std::string_view prefix, const std::string& name) { return std::string(prefix) + name; }

Error corrupt(const std::filesystem::path& path, const std::string& what) {
    return {ErrorCode::corrupt, fmt::format("{}: {}", path.string(), what)};
}

Result<nlohmann::json> parse_state(const model::Checkpoint& checkpoint) {
    nlohmann::json state = nlohmann::json::parse(checkpoint.state_json(), nullptr, false);
    const auto unsigned_key = [&](const char* key) {
        return state.contains(key) && state[key].is_number_unsigned();
    };
    if (!state.is_object() || !unsigned_key("data_position") || !unsigned_key("round") ||
        !state.contains("run_id") || !state["run_id"].is_string() || !state.contains("counters") ||
        !state["counters"].is_object()) {
        return corrupt(checkpoint.path(),
                       "state.json lacks data_position, round, run_id or counters: not a checkpoint "
                       "of a member");
    }
    if (state.contains("optimizer") && !state["optimizer"].is_string())
        return corrupt(checkpoint.path(), "state.json: optimizer is not a name");
    for (const auto& counter : state["counters"]) {
        if (!counter.is_number_unsigned())
            return corrupt(checkpoint.path(), "state.json: a counter is not a number");
    }
    return state;
}

Status restore_algorithm(const model::Checkpoint& checkpoint, std::uint64_t round, Algorithm& algorithm) {
    for (const std::string& name : checkpoint.vector_names()) {
        if (!name.starts_with(kAlgorithmPrefix)) continue;
        if (!algorithm.reserve(std::string_view(name).substr(kAlgorithmPrefix.size()))) {
            return corrupt(checkpoint.path(), fmt::format("the algorithm has no vector {}", name));
        }
    }
    for (const StateVector& vector : algorithm.state()) {
        const std::string name = prefixed(kAlgorithmPrefix, vector.name);
        if (!vector.shared && !checkpoint.has_vector(name))
            continue;  // one for which reserve() made room on the way
        ATOLL_TRY(checkpoint.read_vector(name, vector.values));
    }
    algorithm.set_round(round);
    return {};
}

}  // namespace

Result<std::filesystem::path> save_member(const MemberSave& save, const RunConfig& config,
                                          model::Trainer& trainer, Algorithm* algorithm) {
    (void)trainer.drop_trial();  // its outcome is not known: what is saved is its beginning
    const model::Trainer::Position position = trainer.position();
    const nlohmann::json state = {{"run_id", to_hex(run_id(config))},
                                  {"optimizer", config.optimizer.name},
                                  {"round", algorithm != nullptr ? algorithm->round() : 0},
                                  {"data_position", position.data},
                                  {"counters", save.counters}};
    model::CheckpointContent content{.step = position.step,
                                     .config = trainer.config(),
                                     .layout = trainer.layout(),
                                     .parameters = trainer.parameters(),
                                     .state_json = state.dump(),
                                     .tokenizer = save.tokenizer};
    ATOLL_ASSIGN(const auto optimizer_state, trainer.gather_state());
    for (const auto& vector : optimizer_state) {
        content.vectors.push_back({prefixed(kOptimizerPrefix, vector.name), vector.values});
    }
    if (algorithm != nullptr) {
        for (const auto& vector : algorithm->state()) {
            content.vectors.push_back({prefixed(kAlgorithmPrefix, vector.name), vector.values});
        }
    }
    return model::save_checkpoint(save.folder, content, save.policy);
}

Result<RestoredMember> restore_member(const std::filesystem::path& path, const RunConfig& config,
                                      model::Trainer& trainer, Algorithm* algorithm) {
    ATOLL_ASSIGN(const model::Checkpoint checkpoint, model::open_newest_checkpoint(path));
    ATOLL_ASSIGN(const nlohmann::json state, parse_state(checkpoint));
    if (algorithm != nullptr && state["run_id"] != to_hex(run_id(config))) {
        return Error{ErrorCode::refused,
                     fmt::format("{} is of run {}, this is run {}: use another folder, or --fresh",
                                 checkpoint.path().string(), state["run_id"].get<std::string>().substr(0, 12),
                                 to_hex(run_id(config)).substr(0, 12))};
    }
    // Checkpoints of before this key was written hold no name.
    const std::string optimizer = state.value("optimizer", config.optimizer.name);
    if (optimizer != config.optimizer.name) {
        return Error{
            ErrorCode::invalid,
            fmt::format(
                "{} is a checkpoint of optimizer.name = {}, this run has optimizer.name = {}: expected "
                "the same, or begin anew from its parameters (--init)",
                checkpoint.path().string(), optimizer, config.optimizer.name)};
    }
    ATOLL_TRY(checkpoint.read_parameters(trainer.layout(), trainer.parameters()));
    trainer.parameters_changed();  // before the optimizer's state, of which it may forget some
    ATOLL_ASSIGN(const auto optimizer_state, trainer.gather_state());
    for (const auto& vector : optimizer_state) {
        ATOLL_TRY(checkpoint.read_vector(prefixed(kOptimizerPrefix, vector.name), vector.values));
    }
    ATOLL_TRY(trainer.scatter_state());
    const auto round = state["round"].get<std::uint64_t>();
    if (algorithm != nullptr) ATOLL_TRY(restore_algorithm(checkpoint, round, *algorithm));
    trainer.seek({.step = checkpoint.step(), .data = state["data_position"].get<std::uint64_t>()});
    return RestoredMember{.path = checkpoint.path(),
                          .step = checkpoint.step(),
                          .round = round,
                          .counters = state["counters"].get<std::map<std::string, std::uint64_t>>()};
}

}  // namespace Atoll::federation

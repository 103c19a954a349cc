#include "model/io/checkpoint.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/check.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/log.h"
#include "model/architecture.h"
#include "model/io/hf_folder.h"
#include "model/io/json_text.h"
#include "model/io/staged_folder.h"

namespace Atoll::model {

namespace fs = std::filesystem;

namespace {

constexpr const char* kVectorsFile = "optimizer.safetensors";
constexpr const char* kStateFile = "state.json";
constexpr const char* kDoneFile =
    "DONE";  // holds the hash of state.json, which holds the hashes of all others
constexpr std::string_view kStepPrefix = "step-";
constexpr int kFormat = 1;

fs::path step_path(const fs::path& folder, std::uint64_t step) {
    return folder / fmt::format("{}{:08}", kStepPrefix, step);
}

// The step in a folder's name, if it is one of ours.
bool parse_step(const std::string& name, std::uint64_t& step) {
    if (!name.starts_with(kStepPrefix) || name.size() < kStepPrefix.size() + 8) return false;
    const char* end = name.data() + name.size();
    const auto [stop, code] = std::from_chars(name.data() + kStepPrefix.size(), end, step);
    return code == std::errc() && stop == end;
}

Status point_latest(const fs::path& folder, const std::string& name) {
    const fs::path temporary = folder / fmt::format("{}latest-{}", kStagingPrefix, ::getpid());
    ::unlink(temporary.c_str());
    if (::symlink(name.c_str(), temporary.c_str()) != 0 ||
        ::rename(temporary.c_str(), (folder / "latest").c_str()) != 0) {
        const int code = errno;
        ::unlink(temporary.c_str());
        return Error{ErrorCode::failed,
                     fmt::format("linking {}: {}", (folder / "latest").string(), std::strerror(code))};
    }
    return sync_path(folder);
}

// DONE goes first: a removal that is interrupted leaves an incomplete checkpoint, not a damaged one.
void remove_checkpoint(const fs::path& path) {
    std::error_code ignored;
    fs::remove(path / kDoneFile, ignored);
    fs::remove_all(path, ignored);
}

void prune(const fs::path& folder, const CheckpointPolicy& policy) {
    remove_leftovers(folder);
    std::error_code ignored;
    std::vector<fs::path> incomplete;
    for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end; it.increment(ignored)) {
        std::uint64_t step = 0;
        if (parse_step(it->path().filename().string(), step) && !fs::exists(it->path() / kDoneFile))
            incomplete.push_back(it->path());
    }
    for (const fs::path& path : incomplete) fs::remove_all(path, ignored);
    const auto checkpoints = list_checkpoints(folder);
    const auto keep_last = static_cast<std::size_t>(std::max<std::int64_t>(policy.keep_last, 1));
    for (std::size_t i = 0; i + keep_last < checkpoints.size(); ++i) {
        const bool kept =
            policy.keep_every > 0 && checkpoints[i].step % static_cast<std::uint64_t>(policy.keep_every) == 0;
        if (!kept) remove_checkpoint(checkpoints[i].path);
    }
}

Result<Hash> write_vectors(const fs::path& path, const CheckpointContent& content) {
    std::vector<TensorToWrite> tensors;
    for (const CheckpointVector& vector : content.vectors) {
        for (const TensorToWrite& other : tensors) ATOLL_CHECK(other.name != vector.name);
        tensors.push_back({vector.name,
                           {static_cast<std::int64_t>(vector.values.size())},
                           vector.values,
                           DType::f32,
                           false});
    }
    return write_safetensors(path, std::move(tensors), content.provenance);
}

Status write_state(const fs::path& folder, const CheckpointContent& content, const FileHashes& hashes) {
    nlohmann::ordered_json files = nlohmann::ordered_json::object();
    for (const auto& [name, hash] : hashes) files[name] = to_hex(hash);
    const nlohmann::ordered_json root{
        {"format", kFormat},
        {"step", content.step},
        {"files", files},
        {"state", nlohmann::ordered_json::parse(content.state_json, nullptr, false)}};
    const std::string text = root.dump(2) + "\n";
    ATOLL_TRY(write_file(folder / kStateFile, text));
    return write_file(folder / kDoneFile, to_hex(blake2b(as_byte_view(text))) + "\n");
}

Status check_file(const fs::path& path, const std::string& expected_hash) {
    ATOLL_ASSIGN(const MappedFile file, MappedFile::open(path));
    if (to_hex(blake2b(file.view())) == expected_hash) return {};
    return Error{
        ErrorCode::corrupt,
        fmt::format("{} is damaged: its content is not what was written (hash differs)", path.string())};
}

// state.json, once its own hash is known to be right.
Result<nlohmann::ordered_json> read_state(const fs::path& path) {
    std::error_code code;
    if (!fs::is_directory(path, code))
        return Error{ErrorCode::not_found, fmt::format("no checkpoint at {}", path.string())};
    const auto done = read_text(path / kDoneFile, 256);
    if (!done) {
        return Error{ErrorCode::corrupt, fmt::format("{} is not a complete checkpoint ({})", path.string(),
                                                     done.error().message)};
    }
    ATOLL_TRY(check_file(path / kStateFile, done->substr(0, 64)));
    ATOLL_ASSIGN(const std::string text, read_text(path / kStateFile));
    ATOLL_TRY(check_json_object(text, (path / kStateFile).string()));
    auto root = nlohmann::ordered_json::parse(text, nullptr, false);
    const auto is = [&](const char* key, auto type) { return root.contains(key) && (root[key].*type)(); };
    if (!is("format", &nlohmann::ordered_json::is_number_unsigned) || root["format"] != kFormat ||
        !is("step", &nlohmann::ordered_json::is_number_unsigned) ||
        !is("files", &nlohmann::ordered_json::is_object) ||
        !is("state", &nlohmann::ordered_json::is_object)) {
        return Error{
            ErrorCode::corrupt,
            fmt::format("{}: expected format {}, step, files and state; was it written by another version?",
                        (path / kStateFile).string(), kFormat)};
    }
    return root;
}

}  // namespace

Result<fs::path> save_checkpoint(const fs::path& folder, const CheckpointContent& content,
                                 const CheckpointPolicy& policy) {
    ATOLL_TRY(check_json_object(content.state_json, "the state of a checkpoint"));
    const fs::path path = step_path(folder, content.step);
    ATOLL_ASSIGN(StagedFolder staged, StagedFolder::create(path));
    const HfExport options{.tokenizer = content.tokenizer, .provenance = content.provenance};
    ATOLL_ASSIGN(FileHashes hashes,
                 write_hf_files(staged.path(), content.config, content.layout, content.parameters, options));
    ATOLL_ASSIGN(hashes[kVectorsFile], write_vectors(staged.path() / kVectorsFile, content));
    ATOLL_TRY(write_state(staged.path(), content, hashes));
    ATOLL_TRY(staged.commit());
    ATOLL_TRY(point_latest(folder, path.filename().string()));
    prune(folder, policy);
    return path;
}

Result<Checkpoint> Checkpoint::open(const fs::path& path) {
    ATOLL_ASSIGN(const nlohmann::ordered_json root, read_state(path));
    for (const char* name : {kVectorsFile, "config.json"}) {
        if (root["files"].contains(name)) continue;
        return Error{ErrorCode::corrupt, fmt::format("{}: lists no {}", (path / kStateFile).string(), name)};
    }
    for (const auto& [name, hash] : root["files"].items()) {
        if (fs::path(name).filename() != name || !hash.is_string()) {
            return Error{ErrorCode::corrupt,
                         fmt::format("{}: files: expected names and hashes", (path / kStateFile).string())};
        }
        ATOLL_TRY(check_file(path / name, hash.get<std::string>()));
    }
    ATOLL_ASSIGN(SafetensorsFile vectors, SafetensorsFile::open(path / kVectorsFile));
    Checkpoint checkpoint(path, std::move(vectors));
    ATOLL_ASSIGN(checkpoint.config_, read_hf_config(path));
    checkpoint.step_ = root["step"].get<std::uint64_t>();
    checkpoint.state_json_ = root["state"].dump();
    return checkpoint;
}

Status Checkpoint::read_parameters(const kernels::Layout& layout, std::span<float> out) const {
    if (layout.signature() != make_layout(config_).signature()) {
        return Error{
            ErrorCode::invalid,
            fmt::format(
                "{} holds a model of another shape than the run's [model] table: {} with {} layers of "
                "width {}, context {}, vocabulary {}",
                path_.string(), config_.family, config_.layers, config_.width, config_.context,
                config_.vocabulary)};
    }
    return read_hf_parameters(path_, config_, layout, out);
}

std::vector<std::string> Checkpoint::vector_names() const {
    std::vector<std::string> names;
    for (const TensorEntry& tensor : vectors_.tensors()) names.push_back(tensor.name);
    std::sort(names.begin(), names.end());
    return names;
}

Status Checkpoint::read_vector(std::string_view name, std::span<float> out) const {
    const TensorEntry* tensor = vectors_.find(name);
    if (tensor != nullptr) return vectors_.read(*tensor, out);
    std::string there;
    for (const std::string& other : vector_names()) there += (there.empty() ? "" : ", ") + other;
    return Error{ErrorCode::not_found,
                 fmt::format("{} has no vector {} (it has: {})", vectors_.path().string(), name,
                             there.empty() ? "none" : there)};
}

std::vector<CheckpointEntry> list_checkpoints(const fs::path& folder) {
    std::vector<CheckpointEntry> entries;
    std::error_code ignored;
    for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end; it.increment(ignored)) {
        CheckpointEntry entry{0, it->path()};
        std::error_code code;
        if (parse_step(it->path().filename().string(), entry.step) &&
            fs::exists(it->path() / kDoneFile, code))
            entries.push_back(entry);
    }
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
    return entries;
}

Result<Checkpoint> open_newest_checkpoint(const fs::path& path) {
    std::error_code code;
    if (fs::exists(path / kDoneFile, code)) return Checkpoint::open(path);
    const auto entries = list_checkpoints(path);
    if (entries.empty())
        return Error{ErrorCode::not_found, fmt::format("no checkpoint in {}", path.string())};
    std::optional<Error> newest_error;
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
        auto checkpoint = Checkpoint::open(entry->path);
        if (checkpoint) return checkpoint;
        log::warn("{}; looking for an older checkpoint", checkpoint.error().message);
        if (!newest_error) newest_error = checkpoint.error();
    }
    return *newest_error;
}

}  // namespace Atoll::model

#include "model/io/hf_folder.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/check.h"
#include "base/files.h"
#include "model/architecture.h"
#include "model/io/hf_config.h"
#include "model/io/json_text.h"
#include "model/io/safetensors.h"
#include "model/io/staged_folder.h"
#include "model/tokenizer/tokenizer.h"

namespace Atoll::model {

namespace fs = std::filesystem;

namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

// GPT-2's blocks are made of Conv1D layers, whose weights lie [in, out]; the flat vector has every matrix
// [out, in].
bool stored_transposed(const ModelConfig& config, const kernels::TensorSlot& slot) {
    return config.family == "gpt2" && slot.shape.size() == 2 && slot.name.find(".h.") != std::string::npos;
}

std::vector<std::int64_t> stored_shape(const ModelConfig& config, const kernels::TensorSlot& slot) {
    if (!stored_transposed(config, slot)) return slot.shape;
    return {slot.shape[1], slot.shape[0]};
}

std::string describe(const std::vector<std::int64_t>& shape) { return nlohmann::json(shape).dump(); }

// All tensors of a folder, over one or many files.
class TensorSet {
  public:
    static Result<TensorSet> open(const fs::path& folder) {
        TensorSet set;
        std::error_code code;
        if (fs::exists(folder / kSingleFile, code)) {
            ATOLL_TRY(set.add(folder / kSingleFile));
        } else if (fs::exists(folder / kIndexFile, code)) {
            ATOLL_ASSIGN(const auto files, shard_names(folder / kIndexFile));
            for (const std::string& name : files) ATOLL_TRY(set.add(folder / name));
        } else {
            return Error{
                ErrorCode::not_found,
                fmt::format(
                    "{}: no {} and no {}; weights in other formats must be saved as safetensors first",
                    folder.string(), kSingleFile, kIndexFile)};
        }
        return set;
    }
    // The file's tensor under the first of `names` that is there.
    [[nodiscard]] std::pair<const SafetensorsFile*, const TensorEntry*> find(
        const std::vector<std::string>& names) const {
        for (const std::string& name : names) {
            const auto it = tensors_.find(name);
            if (it != tensors_.end()) return {files_[it->second].get(), files_[it->second]->find(name)};
        }
        return {nullptr, nullptr};
    }
    [[nodiscard]] const std::map<std::string, std::size_t>& tensors() const { return tensors_; }

  private:
    static Result<std::set<std::string>> shard_names(const fs::path& path) {
        ATOLL_ASSIGN(const std::string text, read_text(path));
        ATOLL_TRY(check_json_object(text, path.string()));
        const auto root = nlohmann::json::parse(text, nullptr, false);
        std::set<std::string> names;
        if (root.contains("weight_map") && root["weight_map"].is_object()) {
            for (const auto& [tensor, file] : root["weight_map"].items()) {
                // A plain name: an index must not lead out of its folder.
                if (!file.is_string() ||
                    fs::path(file.get<std::string>()).filename() != file.get<std::string>()) {
                    return Error{ErrorCode::corrupt, fmt::format("{}: weight_map of {}: expected a file name",
                                                                 path.string(), tensor)};
                }
                names.insert(file.get<std::string>());
            }
        }
        if (names.empty()) return Error{ErrorCode::corrupt, fmt::format("{}: no weight_map", path.string())};
        return names;
    }
    Status add(const fs::path& path) {
        ATOLL_ASSIGN(SafetensorsFile file, SafetensorsFile::open(path));
        for (const TensorEntry& tensor : file.tensors()) {
            if (tensors_.emplace(tensor.name, files_.size()).second) continue;
            return Error{ErrorCode::corrupt,
                         fmt::format("{}: tensor {} is in another shard too", path.string(), tensor.name)};
        }
        files_.push_back(std::make_unique<SafetensorsFile>(std::move(file)));
        return {};
    }

    std::vector<std::unique_ptr<SafetensorsFile>> files_;
    std::map<std::string, std::size_t> tensors_;  // file by tensor name
};

std::string without_prefix(const ModelConfig& config, const std::string& name) {
    const std::string prefix = config.family == "gpt2" ? "transformer." : "model.";
    return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

Status read_slot(const TensorSet& tensors, const fs::path& folder, const ModelConfig& config,
                 const kernels::TensorSlot& slot, std::span<float> out) {
    const auto [file, tensor] = tensors.find({slot.name, without_prefix(config, slot.name)});
    if (tensor == nullptr)
        return Error{ErrorCode::corrupt, fmt::format("{}: tensor {} is missing", folder.string(), slot.name)};
    const auto expected = stored_shape(config, slot);
    if (tensor->shape != expected) {
        return Error{ErrorCode::corrupt,
                     fmt::format("{}: tensor {} has shape {}, config.json makes it {}", file->path().string(),
                                 tensor->name, describe(tensor->shape), describe(expected))};
    }
    if (!stored_transposed(config, slot)) return file->read(*tensor, out);
    std::vector<float> stored(out.size());
    ATOLL_TRY(file->read(*tensor, stored));
    transpose(stored, expected[0], expected[1], out);
    return {};
}

// Tensors that carry nothing of their own: causal masks, rotary frequencies, an output head that is the
// embedding.
bool is_ignored(const ModelConfig& config, const std::string& name) {
    if (name == "lm_head.weight") return config.tied_head;
    return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
           name.ends_with(".rotary_emb.inv_freq");
}

Status check_nothing_unexpected(const TensorSet& tensors, const fs::path& folder, const ModelConfig& config,
                                const kernels::Layout& layout) {
    std::set<std::string> known;
    for (const auto& slot : layout.slots()) known.insert({slot.name, without_prefix(config, slot.name)});
    for (const auto& [name, file] : tensors.tensors()) {
        if (known.count(name) != 0 || is_ignored(config, name)) continue;
        return Error{ErrorCode::invalid,
                     fmt::format("{}: tensor {} has no place in a model of family {} with this config.json",
                                 folder.string(), name, config.family)};
    }
    return {};
}

std::vector<std::vector<TensorToWrite>> make_shards(const ModelConfig& config, const kernels::Layout& layout,
                                                    std::span<const float> parameters,
                                                    const HfExport& options) {
    std::vector<std::vector<TensorToWrite>> shards(1);
    std::uint64_t bytes = 0;
    for (const auto& slot : layout.slots()) {
        TensorToWrite tensor{slot.name, stored_shape(config, slot),
                             parameters.subspan(slot.offset, slot.size), options.dtype,
                             stored_transposed(config, slot)};
        if (!shards.back().empty() && bytes + tensor.bytes() > options.shard_bytes_max) {
            shards.emplace_back();
            bytes = 0;
        }
        bytes += tensor.bytes();
        shards.back().push_back(std::move(tensor));
    }
    return shards;
}

// Small files of the folder, hashed as they are written.
class TextFiles {
  public:
    TextFiles(fs::path folder, FileHashes& hashes) : folder_(std::move(folder)), hashes_(hashes) {}
    Status write(const std::string& name, const std::string& text) {
        ATOLL_TRY(write_file(folder_ / name, text));
        hashes_[name] = blake2b(as_byte_view(text));
        return {};
    }

  private:
    fs::path folder_;
    FileHashes& hashes_;
};

Status write_weights(const fs::path& folder, const ModelConfig& config, const kernels::Layout& layout,
                     std::span<const float> parameters, const HfExport& options, FileHashes& hashes) {
    auto shards = make_shards(config, layout, parameters, options);
    nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
    std::uint64_t total_bytes = 0;
    for (std::size_t i = 0; i < shards.size(); ++i) {
        const std::string name = shards.size() == 1
                                     ? kSingleFile
                                     : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
        for (const TensorToWrite& tensor : shards[i]) {
            weight_map[tensor.name] = name;
            total_bytes += tensor.bytes();
        }
        ATOLL_ASSIGN(hashes[name],
                     write_safetensors(folder / name, std::move(shards[i]), options.provenance));
    }
    if (shards.size() == 1) return {};
    const nlohmann::ordered_json index{{"metadata", {{"total_size", total_bytes}}},
                                       {"weight_map", weight_map}};
    return TextFiles(folder, hashes).write(kIndexFile, index.dump(2) + "\n");
}

Status write_tokenizer(TextFiles& files, const ModelConfig& config, const Tokenizer& tokenizer) {
    ATOLL_TRY(files.write("tokenizer.json", tokenizer.to_json()));
    nlohmann::ordered_json settings{{"tokenizer_class", "PreTrainedTokenizerFast"},
                                    {"model_max_length", config.context},
                                    {"clean_up_tokenization_spaces", false}};
    nlohmann::ordered_json special = nlohmann::ordered_json::object();
    if (const auto id = tokenizer.end_of_text()) {
        const std::string text = tokenizer.decode(std::span(&*id, 1));
        for (const char* key : {"bos_token", "eos_token"}) settings[key] = special[key] = text;
    }
    ATOLL_TRY(files.write("tokenizer_config.json", settings.dump(2) + "\n"));
    return files.write("special_tokens_map.json", special.dump(2) + "\n");
}

std::string model_card(const ModelConfig& config, const kernels::Layout& layout, const HfExport& options) {
    std::string text = fmt::format(
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n# {} model trained with "
        "Atoll\n\n"
        "{} parameters: {} layers, width {}, {} heads, context {}, vocabulary {}.\n",
        config.family, layout.parameters(), config.layers, config.width, config.heads, config.context,
        config.vocabulary);
    if (!options.provenance.empty()) text += "\n| | |\n| --- | --- |\n";
    for (const auto& [key, value] : options.provenance) text += fmt::format("| {} | {} |\n", key, value);
    return text;
}

const char* torch_dtype(DType dtype) {
    return dtype == DType::f32 ? "float32" : dtype == DType::f16 ? "float16" : "bfloat16";
}

}  // namespace

Result<ModelConfig> read_hf_config(const fs::path& folder) {
    const fs::path path = folder / "config.json";
    ATOLL_ASSIGN(const std::string text, read_text(path));
    return config_from_hf(text, path.string());
}

Status read_hf_parameters(const fs::path& folder, const ModelConfig& config, const kernels::Layout& layout,
                          std::span<float> parameters) {
    ATOLL_CHECK(parameters.size() == layout.size());
    ATOLL_ASSIGN(const TensorSet tensors, TensorSet::open(folder));
    ATOLL_TRY(check_nothing_unexpected(tensors, folder, config, layout));
    for (const auto& slot : layout.slots()) {
        ATOLL_TRY(read_slot(tensors, folder, config, slot, parameters.subspan(slot.offset, slot.size)));
    }
    return {};
}

Result<HfModel> import_hf(const fs::path& folder) {
    HfModel model;
    ATOLL_ASSIGN(model.config, read_hf_config(folder));
    model.layout = make_layout(model.config);
    // The files are looked at before a buffer of the size that config.json claims is taken.
    ATOLL_ASSIGN(const TensorSet tensors, TensorSet::open(folder));
    for (const auto& slot : model.layout.slots()) {
        if (tensors.find({slot.name, without_prefix(model.config, slot.name)}).second != nullptr) continue;
        return Error{ErrorCode::corrupt, fmt::format("{}: tensor {} is missing", folder.string(), slot.name)};
    }
    model.parameters = kernels::FlatBuffer(model.layout.size());
    ATOLL_TRY(read_hf_parameters(folder, model.config, model.layout, model.parameters.span()));
    return model;
}

Result<FileHashes> write_hf_files(const fs::path& folder, const ModelConfig& config,
                                  const kernels::Layout& layout, std::span<const float> parameters,
                                  const HfExport& options) {
    ATOLL_CHECK(parameters.size() == layout.size());
    FileHashes hashes;
    TextFiles files(folder, hashes);
    std::optional<std::int32_t> end_of_text;
    if (!options.tokenizer.empty()) {
        ATOLL_ASSIGN(const auto tokenizer, load_tokenizer(options.tokenizer));
        end_of_text = tokenizer->end_of_text();
        ATOLL_TRY(write_tokenizer(files, config, *tokenizer));
    }
    ATOLL_TRY(write_weights(folder, config, layout, parameters, options, hashes));
    ATOLL_TRY(files.write("config.json", config_to_hf(config, end_of_text, torch_dtype(options.dtype))));
    nlohmann::ordered_json generation{{"_from_model_config", true}};
    if (end_of_text) generation["bos_token_id"] = generation["eos_token_id"] = *end_of_text;
    ATOLL_TRY(files.write("generation_config.json", generation.dump(2) + "\n"));
    ATOLL_TRY(files.write("README.md", model_card(config, layout, options)));
    return hashes;
}

Status export_hf(const fs::path& folder, const ModelConfig& config, const kernels::Layout& layout,
                 std::span<const float> parameters, const HfExport& options) {
    ATOLL_ASSIGN(StagedFolder staged, StagedFolder::create(folder));
    ATOLL_ASSIGN(const FileHashes hashes, write_hf_files(staged.path(), config, layout, parameters, options));
    return staged.commit();
}

}  // namespace Atoll::model
